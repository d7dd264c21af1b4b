#include "runner/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

namespace lockstep::runner {
namespace {

// Every key of the contract: tells a key of another job from one that nobody knows.
const char* const kContractKeys[] = {"job",
                                     "seed",
                                     "precision",
                                     "data.train",
                                     "data.val",
                                     "data.threads",
                                     "data.cache",
                                     "data.fast_decode",
                                     "data.max_bad",
                                     "batch.size",
                                     "batch.shards",
                                     "model.name",
                                     "model.classes",
                                     "model.drop_path",
                                     "model.patch_size",
                                     "augmentation.size",
                                     "augmentation.eval_size",
                                     "augmentation.eval_crop",
                                     "augmentation.scale",
                                     "augmentation.ratio",
                                     "augmentation.flip",
                                     "augmentation.interpolation",
                                     "augmentation.repeats",
                                     "augmentation.rand_augment",
                                     "augmentation.mixup",
                                     "augmentation.cutmix",
                                     "crops.global_size",
                                     "crops.global_scale",
                                     "crops.local_size",
                                     "crops.local_scale",
                                     "crops.local_count",
                                     "head.out_dim",
                                     "head.hidden_dim",
                                     "head.bottleneck_dim",
                                     "head.norm_last_layer",
                                     "head.freeze_epochs",
                                     "head.batch_norm",
                                     "teacher.momentum",
                                     "teacher.temperature",
                                     "teacher.warmup_temperature",
                                     "teacher.warmup_epochs",
                                     "loss.name",
                                     "loss.target_threshold",
                                     "loss.smoothing",
                                     "optimizer.name",
                                     "optimizer.learning_rate",
                                     "optimizer.learning_rate_at",
                                     "optimizer.weight_decay",
                                     "optimizer.weight_decay_end",
                                     "optimizer.clip_gradient",
                                     "optimizer.clip_scope",
                                     "schedule.epochs",
                                     "schedule.warmup_epochs",
                                     "schedule.warmup_learning_rate",
                                     "schedule.min_learning_rate",
                                     "schedule.per_update",
                                     "schedule.cosine",
                                     "average.decay",
                                     "evaluation.every",
                                     "evaluation.resize",
                                     "evaluation.crop",
                                     "checkpoint.every",
                                     "checkpoint.memory_every",
                                     "checkpoint.keep",
                                     "log.every",
                                     "log.weights_hash",
                                     "init.weights",
                                     "monitoring.address",
                                     "monitoring.port",
                                     "monitoring.targets",
                                     "monitoring.text_file",
                                     "monitoring.linger"};

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row.back();
}

std::string read_file(const std::filesystem::path& file) {
  std::error_code code;
  if (std::filesystem::is_directory(file, code)) {
    throw UsageError("E101",
                     fmt::format("cannot read the recipe '{}': it is a folder", file.string()),
                     "name the .toml file");
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw UsageError(
        "E101",
        fmt::format("cannot read the recipe '{}': {}", file.string(),
                    std::filesystem::exists(file, code) ? "permission denied" : "no such file"),
        "recipes come with Lockstep in jobs/<job>/recipes");
  }
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string line_of(const std::string& text, uint32_t number) {
  std::istringstream stream(text);
  std::string line;
  for (uint32_t i = 0; i < number; ++i) {
    if (!std::getline(stream, line)) return {};
  }
  return line;
}

std::string_view leaf_of(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? key : key.substr(dot + 1);
}

// Sets table.key to a copy of `value`, making tables on the way.
template <typename Value>
void lay_over(toml::table& root, std::string_view key, Value&& value) {
  toml::table* table = &root;
  for (size_t dot; (dot = key.find('.')) != std::string_view::npos; key = key.substr(dot + 1)) {
    const std::string name(key.substr(0, dot));
    if (!table->contains(name)) table->insert(name, toml::table{});
    table = table->get(name)->as_table();
  }
  table->insert_or_assign(std::string(key), std::forward<Value>(value));
}

// The same in the resolved recipe.
void put(nlohmann::ordered_json& root, std::string_view key, nlohmann::ordered_json value) {
  const size_t dot = key.find('.');
  nlohmann::ordered_json& table =
      dot == std::string_view::npos ? root : root[std::string(key.substr(0, dot))];
  table[std::string(leaf_of(key))] = std::move(value);
}

// The `value` of "--set key=value": TOML where it is, else a text.
toml::table parse_override(const std::string& value) {
  try {
    return toml::parse("value = " + value);
  } catch (const toml::parse_error&) {
    toml::table table;
    table.insert("value", value);
    return table;
  }
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
  std::string file;
  std::string text;
  toml::table table;
  std::vector<std::pair<std::string, std::string>> overrides;          // key, as typed
  nlohmann::ordered_json resolved = nlohmann::ordered_json::object();  // in the order of asking
  std::set<std::string, std::less<>> asked;

  const toml::node* find(std::string_view key) const { return table.at_path(key).node(); }

  Place place_of(std::string_view key) const {
    for (const auto& [name, typed] : overrides) {
      if (name == key) return {.file = "--set", .line = 1, .column = 1, .text = typed};
    }
    // A key stands where its table says; a missing one has the file alone.
    const size_t dot = key.rfind('.');
    const toml::table* parent =
        dot == std::string_view::npos ? &table : table.at_path(key.substr(0, dot)).as_table();
    if (parent != nullptr) {
      for (const auto& [name, node] : *parent) {
        if (name.str() == leaf_of(key)) {
          const toml::source_position at = name.source().begin;
          return {.file = file,
                  .line = static_cast<int>(at.line),
                  .column = static_cast<int>(at.column),
                  .text = line_of(text, at.line)};
        }
      }
    }
    return {.file = file, .line = 0, .column = 0, .text = {}};
  }

  const toml::node* ask(std::string_view key) {
    asked.emplace(key);
    return find(key);
  }

  [[noreturn]] void wrong_type(std::string_view key, const toml::node& node,
                               const std::string& wanted) const {
    throw UsageError("E104", fmt::format("'{}' must be {}, not {}", key, wanted, type_name(node)),
                     {}, place_of(key));
  }

  template <typename Number>
  void check_range(std::string_view key, Number value, const jobs::Range& range) const {
    const auto number = static_cast<double>(value);
    if (number >= range.minimum && number <= range.maximum) return;  // false for NaN too
    throw UsageError("E105",
                     fmt::format("'{}' is {}, but must be {}", key, value, range_text(range)), {},
                     place_of(key));
  }

  std::optional<double> as_number(const toml::node& node) const {
    if (node.is_integer()) return static_cast<double>(node.as_integer()->get());
    if (node.is_floating_point()) return node.as_floating_point()->get();
    return std::nullopt;
  }

  [[noreturn]] void refuse_key(const std::string& key) const {
    const Place place = place_of(key);
    if (std::ranges::find(kContractKeys, key) != std::end(kContractKeys)) {
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
  auto content = std::make_unique<Content>();
  content->file = file.string();
  content->text = read_file(file);
  if (std::ranges::all_of(content->text, [](unsigned char c) { return std::isspace(c); })) {
    throw UsageError("E102", fmt::format("the recipe '{}' is empty", file.string()),
                     "start from one in jobs/<job>/recipes");
  }
  try {
    content->table = toml::parse(content->text, content->file);
  } catch (const toml::parse_error& error) {
    const toml::source_position at = error.source().begin;
    throw UsageError("E102", fmt::format("not valid TOML: {}", error.description()), {},
                     {.file = content->file,
                      .line = static_cast<int>(at.line),
                      .column = static_cast<int>(at.column),
                      .text = line_of(content->text, at.line)});
  }
  for (const std::string& typed : overrides) {
    const size_t equals = typed.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw UsageError("E104", fmt::format("--set '{}' is not KEY=VALUE", typed),
                       "for example --set batch.size=256");
    }
    const std::string key = typed.substr(0, equals);
    const toml::table value = parse_override(typed.substr(equals + 1));
    content->overrides.emplace_back(key, typed);
    const size_t dot = key.rfind('.');
    const toml::node* parent =
        dot == std::string::npos ? nullptr : content->find(key.substr(0, dot));
    if (parent != nullptr && !parent->is_table()) {
      throw UsageError("E103", fmt::format("unknown key '{}'", key), {}, content->place_of(key));
    }
    value.at("value").visit([&](const auto& node) { lay_over(content->table, key, node); });
  }
  return Recipe(std::move(content));
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
        near.empty() ? "" : fmt::format("did you mean \"{}\"?", near), content_->place_of(key));
  }
  put(content_->resolved, key, value);
  return value;
}

std::string Recipe::required_text(std::string_view key) {
  std::string value = text(key, "");
  if (value.empty()) {
    throw UsageError("E106", fmt::format("'{}' is missing", key),
                     fmt::format("write it into the recipe, or add --set {}=...", key),
                     content_->place_of(key));
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
                       content_->place_of(key));
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
  throw UsageError("E105", message, help, content_->place_of(key));
}

bool Recipe::has(std::string_view key) const { return content_->find(key) != nullptr; }

void Recipe::resolve(std::string_view key, int64_t value) {
  content_->asked.emplace(key);
  put(content_->resolved, key, value);
}

void Recipe::resolve(std::string_view key, const std::string& value) {
  content_->asked.emplace(key);
  put(content_->resolved, key, value);
}

void Recipe::refuse_unread() const { content_->refuse_unread(content_->table, ""); }

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

std::string nearest(std::string_view name, const std::vector<std::string>& names) {
  std::string best;
  size_t least = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& candidate : names) {
    const size_t distance = edit_distance(name, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace lockstep::runner
