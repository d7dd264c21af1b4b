#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::jobs {

/// The allowed values of a number, both ends included.
struct Range {
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
};

/// A recipe as the runner and the jobs read it: every key is asked for once, by its dotted name,
/// with its default and what it may be. A key of the file that nobody asked for is refused
/// afterwards, and what was asked for, given or default, is the resolved recipe. Errors name file,
/// line and column. Not thread-safe; read everything at the start.
class Settings {
 public:
  virtual ~Settings() = default;

  virtual bool flag(std::string_view key, bool otherwise) = 0;
  virtual int64_t integer(std::string_view key, int64_t otherwise, Range range = {}) = 0;
  virtual double number(std::string_view key, double otherwise, Range range = {}) = 0;
  /// `allowed` empty: any text.
  virtual std::string text(std::string_view key, std::string_view otherwise,
                           const std::vector<std::string>& allowed = {}) = 0;
  /// A text without which there is no run.
  virtual std::string required_text(std::string_view key) = 0;
  /// Exactly as many numbers as the default has, each within `range`.
  virtual std::vector<double> numbers(std::string_view key, const std::vector<double>& otherwise,
                                      Range range = {}) = 0;

  /// Throws the error of a key whose value is of the right type but cannot be used, with the place
  /// where it stands in the file.
  [[noreturn]] virtual void refuse(std::string_view key, const std::string& message,
                                   const std::string& help) const = 0;
};

/// Two numbers within `range`, the smaller first.
std::array<double, 2> ascending_pair(Settings& settings, std::string_view key,
                                     const std::array<double, 2>& otherwise, Range range);

}  // namespace lockstep::jobs
