#pragma once

#include <CLI/App.hpp>
#include <functional>

#include "runner/world.h"

namespace lockstep::runner {

/// What the command line asked for: set by the sub-command that was chosen, run by main afterwards,
/// so that errors of the work are not errors of the command line. Returns the exit code.
using Chosen = std::function<ExitCode(World&)>;

/// Each adds one sub-command with its options and complete help; one file a verb.
void add_train(CLI::App& app, Chosen& chosen);
void add_resume(CLI::App& app, Chosen& chosen);
void add_eval(CLI::App& app, Chosen& chosen);
void add_export(CLI::App& app, Chosen& chosen);
void add_validate(CLI::App& app, Chosen& chosen);
void add_plan(CLI::App& app, Chosen& chosen);
void add_batch(CLI::App& app, Chosen& chosen);
void add_preview(CLI::App& app, Chosen& chosen);
void add_data(CLI::App& app, Chosen& chosen);
void add_bench(CLI::App& app, Chosen& chosen);
void add_status(CLI::App& app, Chosen& chosen);
void add_ctl(CLI::App& app, Chosen& chosen);
void add_doctor(CLI::App& app, Chosen& chosen);
void add_inspect(CLI::App& app, Chosen& chosen);
void add_verify(CLI::App& app, Chosen& chosen);
void add_plot(CLI::App& app, Chosen& chosen);
void add_metrics(CLI::App& app, Chosen& chosen);
void add_completions(CLI::App& app, Chosen& chosen);
void add_manual(CLI::App& app, Chosen& chosen);
void add_watch(CLI::App& app, Chosen& chosen);
void add_probe(CLI::App& app, Chosen& chosen);

}  // namespace lockstep::runner
