#include "runner/recipe_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

#include "runner/key_names.h"

namespace lockstep::runner {
namespace {

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

// Sets table.key to a copy of `value`, making tables on the way.
template <typename Value>
void put(toml::table& root, std::string_view key, Value&& value) {
  toml::table* table = &root;
  for (size_t dot; (dot = key.find('.')) != std::string_view::npos; key = key.substr(dot + 1)) {
    const std::string name(key.substr(0, dot));
    if (!table->contains(name)) table->insert(name, toml::table{});
    table = table->get(name)->as_table();
  }
  table->insert_or_assign(std::string(key), std::forward<Value>(value));
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

}  // namespace

RecipeFile::RecipeFile(const std::filesystem::path& file, const std::vector<std::string>& overrides)
    : file_(file.string()) {
  text_ = read_file(file);
  if (std::ranges::all_of(text_, [](unsigned char c) { return std::isspace(c); })) {
    throw UsageError("E102", fmt::format("the recipe '{}' is empty", file.string()),
                     "start from one in jobs/<job>/recipes");
  }
  try {
    table_ = toml::parse(text_, file_);
  } catch (const toml::parse_error& error) {
    const toml::source_position at = error.source().begin;
    throw UsageError("E102", fmt::format("not valid TOML: {}", error.description()), {},
                     {.file = file_,
                      .line = static_cast<int>(at.line),
                      .column = static_cast<int>(at.column),
                      .text = line_of(text_, at.line)});
  }
  for (const std::string& typed : overrides) lay_over(typed);
}

void RecipeFile::lay_over(const std::string& typed) {
  const size_t equals = typed.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError("E104", fmt::format("--set '{}' is not KEY=VALUE", typed),
                     "for example --set batch.size=256");
  }
  const std::string key = typed.substr(0, equals);
  const toml::table value = parse_override(typed.substr(equals + 1));
  overrides_.emplace_back(key, typed);
  const size_t dot = key.rfind('.');
  const toml::node* parent = dot == std::string::npos ? nullptr : find(key.substr(0, dot));
  if (parent != nullptr && !parent->is_table()) {
    throw UsageError("E103", fmt::format("unknown key '{}'", key), {}, place_of(key));
  }
  value.at("value").visit([&](const auto& node) { put(table_, key, node); });
}

Place RecipeFile::place_of(std::string_view key) const {
  for (const auto& [name, typed] : overrides_) {
    if (name == key) return {.file = "--set", .line = 1, .column = 1, .text = typed};
  }
  // A key stands where its table says; a missing one has the file alone.
  const size_t dot = key.rfind('.');
  const toml::table* parent =
      dot == std::string_view::npos ? &table_ : table_.at_path(key.substr(0, dot)).as_table();
  if (parent != nullptr) {
    for (const auto& [name, node] : *parent) {
      if (name.str() == leaf_of(key)) {
        const toml::source_position at = name.source().begin;
        return {.file = file_,
                .line = static_cast<int>(at.line),
                .column = static_cast<int>(at.column),
                .text = line_of(text_, at.line)};
      }
    }
  }
  return {.file = file_, .line = 0, .column = 0, .text = {}};
}

}  // namespace lockstep::runner
