#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "comm/error.h"
#include "runner/requests.h"
#include "runner/run_lock.h"
#include "runner/verbs/verbs.h"

namespace lockstep::runner {
namespace {

struct Options {
  std::string run, request;
};

ExitCode ctl(const Options& options) {
  const RunDirectory run = open_run(options.run);
  if (!is_owned(run)) {
    throw UsageError("E115", fmt::format("nobody works on the run '{}'", options.run),
                     fmt::format("`lockstep resume {}` goes on with it", options.run));
  }
  if (options.request == "stop") {
    ask_to_stop(run);
  } else {
    ask_to_save(run);
  }
  std::cerr << (options.request == "stop" ? "asked to save and stop after the step under way\n"
                                          : "asked to save after the step under way\n");
  return ExitCode::done;
}

}  // namespace

void add_ctl(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand("ctl", "ask a run that is under way to stop or to save");
  verb->add_option("RUN", options->run, "the run's folder")->required();
  verb->add_option("REQUEST", options->request,
                   "stop: save and end with code 75; checkpoint: save and go on")
      ->required()
      ->check(CLI::IsMember({"stop", "checkpoint"}));
  verb->callback([options, &chosen] { chosen = [options](World&) { return ctl(*options); }; });
}

}  // namespace lockstep::runner
