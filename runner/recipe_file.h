#pragma once

#include <toml++/toml.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "comm/error.h"

namespace lockstep::runner {

/// The values of a recipe's file with the `--set` of the command line laid over them, and where
/// each of them was written. Const after it was read.
class RecipeFile {
 public:
  /// Throws UsageError: E101 the file cannot be read, E102 it is not TOML, E103 a key of
  /// `overrides` goes through one that is no table, E104 one of them is not KEY=VALUE.
  RecipeFile(const std::filesystem::path& file, const std::vector<std::string>& overrides);

  const toml::table& table() const { return table_; }
  /// The value of a dotted key, or null.
  const toml::node* find(std::string_view key) const { return table_.at_path(key).node(); }
  /// Where a key stands; the file alone where it is missing.
  Place place_of(std::string_view key) const;

 private:
  void lay_over(const std::string& typed);

  std::string file_;
  std::string text_;
  toml::table table_;
  std::vector<std::pair<std::string, std::string>> overrides_;  // key, as typed
};

}  // namespace lockstep::runner
