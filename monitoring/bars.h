#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lockstep::monitoring {

struct Bar {
  std::string name;
  double value = 0.0;
  double filled = 0.0;  // the part of the bar drawn in full colour, 0 to 1
  std::string note;     // behind the bar
};

/// Named bars below each other, as .svg or .png, with a line of text below the title. Throws
/// WriteError.
void draw_bars(const std::string& title, const std::string& subtitle, const std::vector<Bar>& bars,
               const std::filesystem::path& file);

}  // namespace lockstep::monitoring
