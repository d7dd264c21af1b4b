#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "runner/preflight/doctor.h"
#include "runner/verbs/options.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

using Level = Finding::Level;

std::string_view name_of(Level level) {
  return level == Level::good ? "ok" : level == Level::warning ? "warning" : "FAILED";
}

Level worst(const std::vector<Finding>& findings) {
  return std::ranges::max_element(findings, {}, &Finding::level)->level;
}

void print_for_people(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    std::cout << fmt::format("{:<8} {:<14} {}\n", name_of(finding.level), finding.check,
                             finding.text);
    if (!finding.cure.empty()) std::cout << fmt::format("{:>24}{}\n", "mend: ", finding.cure);
  }
  const auto count = [&](Level level) {
    return std::ranges::count(findings, level, &Finding::level);
  };
  std::cout << fmt::format("{} ok, {} to look at, {} that will fail\n", count(Level::good),
                           count(Level::warning), count(Level::failure));
}

void print_for_programs(const std::vector<Finding>& findings) {
  nlohmann::ordered_json line{{"verdict", name_of(worst(findings))},
                              {"findings", nlohmann::json::array()}};
  for (const Finding& finding : findings) {
    line["findings"].push_back({{"check", finding.check},
                                {"result", name_of(finding.level)},
                                {"found", finding.text},
                                {"mend", finding.cure}});
  }
  std::cout << line.dump() << std::endl;
}

// Processes that do not know of each other all think that they are rank 0.
bool speaks(const World& world) {
  const char* task = std::getenv("SLURM_PROCID");
  return world.rank() == 0 && (world.size() > 1 || task == nullptr || std::atoi(task) == 0);
}

ExitCode doctor(World& world, const DoctorOptions& options, bool json) {
  const std::vector<Finding> findings = examine(world, options);
  if (speaks(world)) json ? print_for_programs(findings) : print_for_people(findings);
  return worst(findings) == Level::failure ? ExitCode::preflight : ExitCode::done;
}

}  // namespace

void add_doctor(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<DoctorOptions>();
  auto json = std::make_shared<bool>(false);
  CLI::App* verb = app.add_subcommand("doctor",
                                      "look whether these machines can train, and say how to mend "
                                      "what they cannot (under mpirun or "
                                      "srun: all of them)");
  verb->add_option("SOURCE", options->source, "a recipe or a run: its data and memory too");
  verb->add_option("--folder", options->folder, "where runs would lie [the run's folder, or here]")
      ->type_name("DIR");
  verb->add_flag("--json", *json, "as one JSON line");
  add_overrides(*verb, options->overrides);
  verb->callback([options, json, &chosen] {
    chosen = [options, json](World& world) { return doctor(world, *options, *json); };
  });
}

}  // namespace lockstep::runner
