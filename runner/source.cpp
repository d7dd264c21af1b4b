#include "runner/source.h"

#include "runner/run_directory.h"

namespace lockstep::runner {

Recipe read_source(const std::filesystem::path& source, const std::vector<std::string>& overrides) {
  if (is_run(source)) return Recipe::read(RunDirectory{source}.recipe(), overrides);
  if (is_checkpoint(source)) {
    const std::filesystem::path root = std::filesystem::absolute(source / ".")
                                           .lexically_normal()
                                           .parent_path()
                                           .parent_path()
                                           .parent_path();
    return Recipe::read(open_run(root).recipe(), overrides);
  }
  std::error_code code;
  if (std::filesystem::is_directory(source, code)) open_run(source);  // says why it is none
  return Recipe::read(source, overrides);
}

LaunchDefaults launch_defaults(const World& world) {
  return {.shards = world.size(), .cores = world.cores()};
}

}  // namespace lockstep::runner
