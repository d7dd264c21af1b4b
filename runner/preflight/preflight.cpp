#include "runner/preflight/preflight.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <random>

#include "comm/broadcast_sized.h"
#include "comm/error.h"
#include "jobs/pixels/image.h"
#include "runner/files.h"
#include "runner/run_bytes.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

RankFacts facts_of(const RunPlan& plan, World& world, bool on_gpu) {
  RankFacts facts{.rank = world.rank(),
                  .local_rank = world.local_rank(),
                  .local_ranks = world.local_size(),
                  .program = hash_of_program(),
                  .recipe = hash_of_text(plan.recipe.resolved_toml()),
                  .threads = plan.options.compute_threads,
                  .on_gpu = on_gpu};
  look_at_machine(facts);
  if (world.local_rank() == 0) look_at_pictures(*plan.training_set, facts);
  return facts;
}

}  // namespace

void look_at_pictures(const Dataset& set, RankFacts& facts) {
  std::string seen = fmt::format("{:016x}", set.index().hash()), problem;
  bool any = false;
  for (const int64_t sample : {int64_t{0}, set.size() / 2, set.size() - 1}) {
    std::vector<std::byte> bytes;
    try {
      set.read(sample, bytes);
      any = true;
    } catch (const pixels::ImageError& error) {
      problem = fmt::format("cannot read '{}': {}", set.where(sample), error.what());
    }
    seen.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  facts.data = hash_of_text(seen);
  if (any) return;
  facts.own.push_back({"pictures", Finding::Level::failure, problem,
                       "mount the set on every host under the name that data.train has"});
}

void look_at_folder(const fs::path& folder, World& world, RankFacts& facts) {
  if (world.nodes() == 1) return;
  std::random_device random;
  std::string name = fmt::format(".lockstep-seen-{:08x}{:08x}", random(), random());
  name = comm::broadcast_sized(std::move(name), world.communicator());
  std::error_code code;
  if (world.rank() == 0) write_file(folder / name, "seen");
  world.communicator().barrier();
  if (world.local_rank() == 0 && !fs::exists(folder / name, code)) {
    facts.own.push_back({"run folder", Finding::Level::failure,
                         fmt::format("does not see what rank 0 writes to '{}'", folder.string()),
                         "name a run folder on storage that all hosts share"});
  }
  world.communicator().barrier();
  if (world.rank() == 0) fs::remove(folder / name, code);
}

Needs needs_of(const RunPlan& plan) {
  const RunBytes bytes = bytes_of(plan);
  const bool copies = plan.options.copy_every_steps > 0;
  return {.rank_bytes = bytes.of_rank(), .node_bytes = copies ? 2 * bytes.checkpoint : 0};
}

void check_before_start(const RunPlan& plan, World& world, const fs::path& run, bool on_gpu,
                        const std::function<void(const std::string&)>& warn) {
  const CheckOptions::Preflight level = plan.options.check.preflight;
  if (level == CheckOptions::Preflight::off) return;
  RankFacts facts = facts_of(plan, world, on_gpu);
  fs::path folder = fs::absolute(run);
  std::error_code code;
  while (!fs::is_directory(folder, code) && folder.has_relative_path())
    folder = folder.parent_path();
  look_at_folder(folder, world, facts);
  meet(facts, world.communicator());
  Needs needs = needs_of(plan);
  needs.node_bytes = 0;  // whoever makes the copies says so
  const std::vector<Finding> findings = judge(gather(facts, world.communicator()), needs);

  const bool strict = level == CheckOptions::Preflight::strict;
  const Verdict failures = verdict(findings, Finding::Level::failure);
  for (const Finding& finding : findings) {
    if (finding.level == Finding::Level::warning ||
        (!strict && finding.level == Finding::Level::failure))
      warn(fmt::format("{}: {}; {}", finding.check, finding.text, finding.cure));
  }
  if (!strict || failures.text.empty()) return;
  throw Error(ExitCode::preflight, "E703", failures.text,
              failures.cures + "\n  `lockstep doctor` looks at more; check.preflight=warn goes on");
}

}  // namespace lockstep::runner
