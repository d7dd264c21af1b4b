#include "runner/report.h"

#include <fmt/format.h>

namespace lockstep::runner {

std::string describe(const Error& error, const std::string& who) {
  std::string text =
      fmt::format("error[{}]: {}{}\n", error.id(), who.empty() ? "" : who + ": ", error.what());
  const Place& place = error.place();
  if (!place.file.empty() && place.line > 0) {
    const std::string number = std::to_string(place.line);
    const std::string margin(number.size(), ' ');
    text += fmt::format("{}--> {}:{}:{}\n", margin, place.file, place.line, place.column);
    if (!place.text.empty()) {
      text += fmt::format("{} |\n{} | {}\n{} | {}^\n", margin, number, place.text, margin,
                          std::string(static_cast<size_t>(place.column - 1), ' '));
    }
  } else if (!place.file.empty()) {
    text += fmt::format("--> {}\n", place.file);
  }
  if (!error.help().empty()) text += fmt::format("help: {}\n", error.help());
  return text;
}

}  // namespace lockstep::runner
