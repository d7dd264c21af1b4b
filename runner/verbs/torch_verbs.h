#pragma once

#include <string>
#include <vector>

#include "comm/error.h"
#include "runner/world.h"

namespace lockstep::runner {

// The verbs that need LibTorch, whose loading takes longer than all other verbs take together. They
// are in the program lockstep-torch; the program lockstep has the twin exec_torch.cpp in their
// place, which becomes lockstep-torch with the same command line.

struct TrainOptions {
  std::string recipe, run, deadline;
  std::vector<std::string> overrides;
};
ExitCode train(World& world, const TrainOptions& options);

struct ResumeOptions {
  std::string run, deadline;
  std::vector<std::string> overrides;
  std::vector<std::string> allowed_changes;  // keys of the recipe
};
ExitCode resume(World& world, const ResumeOptions& options);

struct EvalOptions {
  std::string source, weights, outputs;
  std::string task, images, out;
  bool average = false;
  bool initial = false;
  std::vector<std::string> overrides;
};
ExitCode eval(World& world, const EvalOptions& options);

struct BenchOptions {
  std::string part;  // data, step, sum, checkpoint
  std::string recipe, out;
  std::string profile;  // step: the picture's file; empty: no profile
  int64_t steps = 10;
  int64_t samples = 0;
  int threads = 0;        // data: of a rank; 0: as the recipe says
  bool hash = false;      // data: of all that is trained on
  double gpu_rate = 0.0;  // data: pictures a second that each rank's GPU would take; 0: not asked
  std::vector<std::string> overrides;
};
/// Times one part of a run alone.
ExitCode bench(World& world, const BenchOptions& options);

/// One JSON line of what `doctor` asks of LibTorch.
ExitCode probe();

struct ExportOptions {
  std::string source, format, out;
  bool average = false;
};
/// The part of `export` for projects that read PyTorch's own files.
ExitCode export_pth(World& world, const ExportOptions& options);

}  // namespace lockstep::runner
