#include <fmt/format.h>

#include <CLI/App.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "monitoring/catalogue.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

std::string_view note_of(monitoring::Availability availability) {
  using enum monitoring::Availability;
  switch (availability) {
    case evaluation:
      return " (from the first evaluation on)";
    case checkpoint:
      return " (from the first checkpoint on)";
    case gpu:
      return " (of ranks on GPUs)";
    default:
      return "";
  }
}

void print_for_people() {
  for (const monitoring::Metric& metric : monitoring::catalogue()) {
    const std::string labels = metric.labels.empty() ? "" : fmt::format("{{{}}}", metric.labels);
    std::cout << fmt::format("{}{}\n    {}{}{}: {}{}\n", metric.name, labels, name_of(metric.type),
                             metric.unit.empty() ? "" : ", ", metric.unit, metric.help,
                             note_of(metric.availability));
  }
}

void print_for_programs() {
  for (const monitoring::Metric& metric : monitoring::catalogue()) {
    const nlohmann::ordered_json line{
        {"name", metric.name}, {"type", name_of(metric.type)},
        {"unit", metric.unit}, {"labels", metric.labels},
        {"help", metric.help}, {"availability", name_of(metric.availability)}};
    std::cout << line.dump() << '\n';
  }
}

}  // namespace

void add_metrics(CLI::App& app, Chosen& chosen) {
  auto json = std::make_shared<bool>(false);
  CLI::App* verb = app.add_subcommand("metrics", "list the metrics that a run shows to Prometheus");
  verb->add_flag("--json", *json, "a JSON line for each");
  verb->callback([json, &chosen] {
    chosen = [json](World&) {
      *json ? print_for_programs() : print_for_people();
      return ExitCode::done;
    };
  });
}

}  // namespace lockstep::runner
