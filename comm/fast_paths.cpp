#include "comm/fast_paths.h"

#include <cstdlib>
#include <string>

namespace lockstep {

bool takes_fast_path(std::string_view name) {
  const char* plain = std::getenv("LOCKSTEP_PLAIN");
  if (plain == nullptr) return true;
  const std::string listed = "," + std::string(plain) + ",";
  const auto has = [&listed](std::string_view one) {
    return listed.find("," + std::string(one) + ",") != std::string::npos;
  };
  return !has(name) && !has("all");
}

}  // namespace lockstep
