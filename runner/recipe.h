#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "comm/error.h"
#include "jobs/settings.h"

namespace lockstep::runner {

/// A recipe file with the `--set` of the command line laid over it. Errors (UsageError): E101 the
/// file cannot be read, E102 it is not TOML, E103 unknown key, E104 wrong type, E105 out of range
/// or not among the allowed values, E106 a key is missing, E107 a key in the wrong table, E108 a
/// key that this job does not use.
class Recipe final : public jobs::Settings {
 public:
  /// `overrides` as "table.key=value", the value in TOML or a bare word.
  static Recipe read(const std::filesystem::path& file, const std::vector<std::string>& overrides);
  ~Recipe() override;
  Recipe(Recipe&&) noexcept;

  bool flag(std::string_view key, bool otherwise) override;
  int64_t integer(std::string_view key, int64_t otherwise, jobs::Range range = {}) override;
  double number(std::string_view key, double otherwise, jobs::Range range = {}) override;
  std::string text(std::string_view key, std::string_view otherwise,
                   const std::vector<std::string>& allowed = {}) override;
  std::string required_text(std::string_view key) override;
  std::vector<double> numbers(std::string_view key, const std::vector<double>& otherwise,
                              jobs::Range range = {}) override;
  /// A count of steps, or a time as "10m", "30s" or "2h".
  std::string steps_or_time(std::string_view key, std::string_view otherwise);
  [[noreturn]] void refuse(std::string_view key, const std::string& message,
                           const std::string& help) const override;

  bool has(std::string_view key) const;
  /// Fixes a value that was derived, so that the resolved recipe says it.
  void resolve(std::string_view key, int64_t value);
  void resolve(std::string_view key, const std::string& value);
  /// Call when all keys were asked for: throws for the first key of the file that was not.
  void refuse_unread() const;

  /// Everything that was asked for, given or default.
  std::string resolved_toml() const;
  nlohmann::ordered_json resolved_json() const;

 private:
  struct Content;
  explicit Recipe(std::unique_ptr<Content> content);
  std::unique_ptr<Content> content_;
};

/// The keys whose values differ between two resolved recipes, as "key: old -> new".
std::vector<std::string> differences(const nlohmann::ordered_json& before,
                                     const nlohmann::ordered_json& after);

}  // namespace lockstep::runner
