#include <pthread.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <string>

#include "runner/error_of_all.h"
#include "runner/report.h"
#include "runner/run_description.h"
#include "runner/verbs/verbs.h"
#include "runner/world.h"

namespace {

using lockstep::Error;
using lockstep::ExitCode;
using lockstep::runner::Chosen;
using lockstep::runner::ErrorOfAll;
using lockstep::runner::World;

// Another rank says it and ends the job, which takes seconds over busy hosts. srun does so by TERM,
// and the job's code is the highest of its ranks': that of the error then.
void give_precedence(ExitCode code) {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &term, nullptr);
  const timespec most{.tv_sec = 10, .tv_nsec = 0};
  if (sigtimedwait(&term, nullptr, &most) == SIGTERM) std::_Exit(static_cast<int>(code));
}

// One message for the job. Before there is a run, most of what is wrong all ranks find.
[[noreturn]] void fail(World& world, const Error& error, const std::string& who) {
  const bool of_all = !world.run() || dynamic_cast<const ErrorOfAll*>(&error) != nullptr;
  if (world.rank() != 0 && of_all) give_precedence(error.exit_code());
  if (world.run() && !lockstep::runner::is_first_failure(*world.run())) {
    give_precedence(error.exit_code());
  } else {
    std::fputs(lockstep::runner::describe(error, who).c_str(), stderr);
    if (world.run()) lockstep::runner::note_failure(*world.run(), error, world.rank());
  }
  world.abort(error.exit_code());
}

[[noreturn]] void fail(World& world, const Error& error) {
  fail(world, error, world.rank() == 0 ? "" : "rank " + std::to_string(world.rank()));
}

// LibTorch appends its stack.
std::string without_stack(const std::string& message) {
  return message.substr(0, message.find("\nException raised from"));
}

[[noreturn]] void fail(World& world, const std::exception& error) {
  const Error internal(ExitCode::internal, "E901", without_stack(error.what()),
                       "this is a fault of Lockstep or of the machine; please report it");
  fail(world, internal, world.size() > 1 ? "rank " + std::to_string(world.rank()) : "");
}

int refuse_command_line(const CLI::App& app, const CLI::ParseError& error, const World& world) {
  if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
  if (world.rank() != 0) give_precedence(ExitCode::usage);
  const Error usage(ExitCode::usage, "E100", error.what(),
                    "`lockstep --help` and `lockstep VERB --help`");
  std::fputs(lockstep::runner::describe(usage).c_str(), stderr);
  return static_cast<int>(ExitCode::usage);
}

}  // namespace

int main(int argc, char** argv) {
  World world;
  CLI::App app("Trains DINO and ResNet-strikes-back recipes, data-parallel over MPI ranks.",
               "lockstep");
  app.set_version_flag("--version", "lockstep " LOCKSTEP_VERSION);
  app.require_subcommand(1);
  Chosen chosen;
  lockstep::runner::add_train(app, chosen);
  lockstep::runner::add_resume(app, chosen);
  lockstep::runner::add_eval(app, chosen);
  lockstep::runner::add_export(app, chosen);
  lockstep::runner::add_validate(app, chosen);
  lockstep::runner::add_plan(app, chosen);
  lockstep::runner::add_batch(app, chosen);
  lockstep::runner::add_preview(app, chosen);
  lockstep::runner::add_data(app, chosen);
  lockstep::runner::add_bench(app, chosen);
  lockstep::runner::add_status(app, chosen);
  lockstep::runner::add_ctl(app, chosen);
  lockstep::runner::add_doctor(app, chosen);
  lockstep::runner::add_inspect(app, chosen);
  lockstep::runner::add_verify(app, chosen);
  lockstep::runner::add_plot(app, chosen);
  lockstep::runner::add_metrics(app, chosen);
  lockstep::runner::add_completions(app, chosen);
  lockstep::runner::add_manual(app, chosen);
  lockstep::runner::add_watch(app, chosen);
  lockstep::runner::add_probe(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return refuse_command_line(app, error, world);
  }
  try {
    return static_cast<int>(chosen(world));
  } catch (const Error& error) {
    fail(world, error);
  } catch (const std::exception& error) {
    fail(world, error);
  }
}
