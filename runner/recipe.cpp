#include "runner/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "runner/key_names.h"
#include "runner/recipe_file.h"

namespace lockstep::runner {
namespace {

// Sets table.key of the resolved recipe.
void put(nlohmann::ordered_json& root, std::string_view key, nlohmann::ordered_json value) {
  const size_t dot = key.find('.');
  nlohmann::ordered_json& table =
      dot == std::string_view::npos ? root : root[std::string(key.substr(0, dot))];
  table[std::string(leaf_of(key))] = std::move(value);
}

std::string type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "a text";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::table:
      return "a table";
    default:
      return "a date";
  }
}

std::string range_text(const jobs::Range& range) {
  if (std::isinf(range.maximum)) return fmt::format("at least {:g}", range.minimum);
  if (std::isinf(range.minimum)) return fmt::format("at most {:g}", range.maximum);
  return fmt::format("from {:g} to {:g}", range.minimum, range.maximum);
}

}  // namespace

struct Recipe::Content {
  RecipeFile file;
  nlohmann::ordered_json resolved = nlohmann::ordered_json::object();  // in the order of asking
  std::set<std::string, std::less<>> asked;

  const toml::node* ask(std::string_view key) {
    asked.emplace(key);
    return file.find(key);
  }

  [[noreturn]] void wrong_type(std::string_view key, const toml::node& node,
                               const std::string& wanted) const {
    throw UsageError("E104", fmt::format("'{}' must be {}, not {}", key, wanted, type_name(node)),
                     {}, file.place_of(key));
  }

  template <typename Number>
  void check_range(std::string_view key, Number value, const jobs::Range& range) const {
    const auto number = static_cast<double>(value);
    if (number >= range.minimum && number <= range.maximum) return;  // false for NaN too
    throw UsageError("E105",
                     fmt::format("'{}' is {}, but must be {}", key, value, range_text(range)), {},
                     file.place_of(key));
  }

  std::optional<double> as_number(const toml::node& node) const {
    if (node.is_integer()) return static_cast<double>(node.as_integer()->get());
    if (node.is_floating_point()) return node.as_floating_point()->get();
    return std::nullopt;
  }

  [[noreturn]] void refuse_key(const std::string& key) const {
    const Place place = file.place_of(key);
    if (is_contract_key(key)) {
      throw UsageError("E108",
                       fmt::format("'{}' is not used by the job '{}'", key,
                                   resolved.value("job", std::string("?"))),
                       "take it out, or name another job", place);
    }
    const std::vector<std::string> known(asked.begin(), asked.end());
    for (const std::string& name : known) {
      if (leaf_of(name) != leaf_of(key)) continue;
      const size_t dot = name.rfind('.');
      throw UsageError("E107", fmt::format("'{}' stands in the wrong table", key),
                       dot == std::string::npos ? fmt::format("'{}' goes above all tables", name)
                                                : fmt::format("'{}' belongs in [{}]", leaf_of(name),
                                                              name.substr(0, dot)),
                       place);
    }
    throw UsageError("E103", fmt::format("unknown key '{}'", key), suggestion(key, known), place);
  }

  // Within the key's own table first: there the name alone is enough.
  static std::string suggestion(const std::string& key, const std::vector<std::string>& known) {
    const size_t dot = key.rfind('.');
    const std::string table = dot == std::string::npos ? "" : key.substr(0, dot + 1);
    std::vector<std::string> siblings;
    for (const std::string& name : known) {
      if (name.starts_with(table)) siblings.push_back(name.substr(table.size()));
    }
    const std::string sibling = nearest(leaf_of(key), siblings);
    if (!sibling.empty()) return fmt::format("did you mean '{}'?", sibling);
    const std::string other = nearest(key, known);
    if (!other.empty()) return fmt::format("did you mean '{}'?", other);
    return "`lockstep plan RECIPE` lists every key that this job knows";
  }

  void refuse_unread(const toml::table& within, const std::string& prefix) const {
    for (const auto& [name, node] : within) {
      const std::string key = prefix + std::string(name.str());
      if (const toml::table* inner = node.as_table()) {
        if (!asked.contains(key)) refuse_unread(*inner, key + ".");
      } else if (!asked.contains(key)) {
        refuse_key(key);
      }
    }
  }
};

Recipe::Recipe(std::unique_ptr<Content> content) : content_(std::move(content)) {}
Recipe::~Recipe() = default;
Recipe::Recipe(Recipe&&) noexcept = default;

Recipe Recipe::read(const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  return Recipe(std::make_unique<Content>(RecipeFile(file, overrides)));
}

bool Recipe::flag(std::string_view key, bool otherwise) {
  const toml::node* node = content_->ask(key);
  if (node != nullptr && !node->is_boolean()) content_->wrong_type(key, *node, "true or false");
  const bool value = node == nullptr ? otherwise : node->as_boolean()->get();
  put(content_->resolved, key, value);
  return value;
}

int64_t Recipe::integer(std::string_view key, int64_t otherwise, jobs::Range range) {
  const toml::node* node = content_->ask(key);
  if (node != nullptr && !node->is_integer()) content_->wrong_type(key, *node, "an integer");
  const int64_t value = node == nullptr ? otherwise : node->as_integer()->get();
  content_->check_range(key, value, range);
  put(content_->resolved, key, value);
  return value;
}

double Recipe::number(std::string_view key, double otherwise, jobs::Range range) {
  const toml::node* node = content_->ask(key);
  if (node != nullptr && !content_->as_number(*node)) content_->wrong_type(key, *node, "a number");
  const double value = node == nullptr ? otherwise : *content_->as_number(*node);
  content_->check_range(key, value, range);
  put(content_->resolved, key, value);
  return value;
}

std::string Recipe::text(std::string_view key, std::string_view otherwise,
                         const std::vector<std::string>& allowed) {
  const toml::node* node = content_->ask(key);
  if (node != nullptr && !node->is_string()) content_->wrong_type(key, *node, "a text");
  const std::string value(node == nullptr ? otherwise : std::string_view(node->as_string()->get()));
  if (!allowed.empty() && std::ranges::find(allowed, value) == allowed.end()) {
    const std::string near = nearest(value, allowed);
    throw UsageError(
        "E105",
        fmt::format("'{}' is \"{}\", but must be one of: {}", key, value, fmt::join(allowed, ", ")),
        near.empty() ? "" : fmt::format("did you mean \"{}\"?", near),
        content_->file.place_of(key));
  }
  put(content_->resolved, key, value);
  return value;
}

std::string Recipe::required_text(std::string_view key) {
  std::string value = text(key, "");
  if (value.empty()) {
    throw UsageError("E106", fmt::format("'{}' is missing", key),
                     fmt::format("write it into the recipe, or add --set {}=...", key),
                     content_->file.place_of(key));
  }
  return value;
}

std::vector<double> Recipe::numbers(std::string_view key, const std::vector<double>& otherwise,
                                    jobs::Range range) {
  const toml::node* node = content_->ask(key);
  std::vector<double> values = otherwise;
  if (node != nullptr) {
    const toml::array* array = node->as_array();
    const std::string wanted = fmt::format("a list of {} numbers", otherwise.size());
    if (array == nullptr) content_->wrong_type(key, *node, wanted);
    values.clear();
    for (const toml::node& item : *array) {
      const std::optional<double> value = content_->as_number(item);
      if (!value) content_->wrong_type(key, item, wanted);
      values.push_back(*value);
    }
    if (values.size() != otherwise.size()) {
      throw UsageError("E104",
                       fmt::format("'{}' must be {}, not of {}", key, wanted, values.size()), {},
                       content_->file.place_of(key));
    }
  }
  for (const double value : values) content_->check_range(key, value, range);
  put(content_->resolved, key, values);
  return values;
}

std::string Recipe::steps_or_time(std::string_view key, std::string_view otherwise) {
  const toml::node* node = content_->ask(key);
  if (node == nullptr || node->is_string()) return text(key, otherwise);
  return std::to_string(integer(key, 0, {0, 1e12}));
}

void Recipe::refuse(std::string_view key, const std::string& message,
                    const std::string& help) const {
  throw UsageError("E105", message, help, content_->file.place_of(key));
}

bool Recipe::has(std::string_view key) const { return content_->file.find(key) != nullptr; }

void Recipe::resolve(std::string_view key, int64_t value) {
  content_->asked.emplace(key);
  put(content_->resolved, key, value);
}

void Recipe::resolve(std::string_view key, const std::string& value) {
  content_->asked.emplace(key);
  put(content_->resolved, key, value);
}

void Recipe::refuse_unread() const { content_->refuse_unread(content_->file.table(), ""); }

// What JSON writes for texts, numbers and lists is TOML too.
std::string Recipe::resolved_toml() const {
  std::string top, tables;
  for (const auto& [name, value] : content_->resolved.items()) {
    if (!value.is_object()) {
      top += fmt::format("{} = {}\n", name, value.dump());
      continue;
    }
    tables += fmt::format("\n[{}]\n", name);
    for (const auto& [key, inner] : value.items())
      tables += fmt::format("{} = {}\n", key, inner.dump());
  }
  return top + tables;
}

nlohmann::ordered_json Recipe::resolved_json() const { return content_->resolved; }

std::vector<std::string> differences(const nlohmann::ordered_json& before,
                                     const nlohmann::ordered_json& after) {
  const nlohmann::ordered_json old_values = before.flatten();
  const nlohmann::ordered_json new_values = after.flatten();
  const auto dotted = [](std::string pointer) {
    std::ranges::replace(pointer, '/', '.');
    return pointer.substr(1);
  };
  std::vector<std::string> changes;
  for (const auto& [pointer, value] : new_values.items()) {
    const auto old_value = old_values.find(pointer);
    if (old_value == old_values.end()) {
      changes.push_back(fmt::format("{}: absent -> {}", dotted(pointer), value.dump()));
    } else if (*old_value != value) {
      changes.push_back(
          fmt::format("{}: {} -> {}", dotted(pointer), old_value->dump(), value.dump()));
    }
  }
  for (const auto& [pointer, value] : old_values.items()) {
    if (!new_values.contains(pointer)) {
      changes.push_back(fmt::format("{}: {} -> absent", dotted(pointer), value.dump()));
    }
  }
  return changes;
}

}  // namespace lockstep::runner
