#include "runner/preflight/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "comm/error.h"
#include "runner/files.h"
#include "runner/preflight/preflight.h"
#include "runner/run_directory.h"
#include "runner/source.h"
#include "runner/stopwatch.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;
using Level = Finding::Level;

constexpr size_t kStorageBytes = 64 << 20;
constexpr double kSlowStorage = 50e6;  // bytes a second
constexpr int kMostSenders = 64;
constexpr int kBusyMegabytes = 1000;

Finding finding_of(const std::string& check, const Error& error) {
  const std::string place = error.place().file.empty()
                                ? std::string()
                                : fmt::format(" ({}:{})", error.place().file, error.place().line);
  return {check, Level::failure, error.what() + place, error.help()};
}

int number_in(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::atoi(text);
}

Finding describe_launch(const World& world) {
  if (!world.is_launched() && number_in("SLURM_NTASKS") > 1) {
    return {"launch", Level::warning,
            fmt::format("one process, in a job of {} tasks", number_in("SLURM_NTASKS")),
            "start it by mpirun, or by srun --mpi=pmix"};
  }
  return {"launch", Level::good,
          fmt::format("{} rank{} on {} host{}", world.size(), world.size() == 1 ? "" : "s",
                      world.nodes(), world.nodes() == 1 ? "" : "s"),
          ""};
}

// What a command says on stdout and how it ended; both streams where `errors` are wanted.
struct Answer {
  std::string text;
  int status = -1;
};

Answer ask(const std::string& command) {
  Answer answer;
  std::FILE* pipe = ::popen(command.c_str(), "re");
  if (pipe == nullptr) return answer;
  char part[4096];
  for (size_t n = 0; (n = std::fread(part, 1, sizeof(part), pipe)) > 0;)
    answer.text.append(part, n);
  answer.status = ::pclose(pipe);
  return answer;
}

// In a process of its own: what cannot be loaded, or traps, takes nothing else with it.
void look_at_torch(RankFacts& facts) {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "lockstep-torch";
  const Answer answer = ask(fmt::format("'{}' probe 2>&1", program.string()));
  const auto json = nlohmann::json::parse(answer.text, nullptr, /*allow_exceptions=*/false);
  if (answer.status != 0 || !json.is_array()) {
    facts.own.push_back({"LibTorch", Level::failure,
                         fmt::format("{} does not run: {}", program.string(), answer.text),
                         "run deploy/setup.sh and deploy/build.sh on this host, or see to it that "
                         "it sees the wheels where they were at the build"});
    return;
  }
  for (const auto& finding : json) facts.own.push_back(finding.get<Finding>());
}

// nvidia-smi comes with every driver.
void look_at_gpu_health(RankFacts& facts) {
  std::istringstream lines(
      ask("nvidia-smi --query-gpu=index,ecc.errors.uncorrected.volatile.total,memory.used "
          "--format=csv,noheader,nounits 2>/dev/null")
          .text);
  for (std::string line; std::getline(lines, line);) {
    int gpu = 0, errors = 0, used = 0;
    // Without ECC there is no number of its errors.
    if (std::sscanf(line.c_str(), "%d, %d, %d", &gpu, &errors, &used) != 3 &&
        std::sscanf(line.c_str(), "%d, %*[^,], %d", &gpu, &used) != 2)
      continue;
    if (errors > 0) {
      facts.own.push_back(
          {"GPU memory", Level::failure,
           fmt::format("GPU {} of {} has {} uncorrected errors", gpu, facts.host, errors),
           "take this host out and have the GPU reset or replaced"});
    }
    if (used > kBusyMegabytes) {
      facts.own.push_back({"GPU memory", Level::warning,
                           fmt::format("{} MB of GPU {} of {} are taken", used, gpu, facts.host),
                           "`nvidia-smi` names the processes; end those that are left over"});
    }
  }
}

// Every rank reads the recipe, the first of each machine the set.
void look_at_recipe(const World& world, const DoctorOptions& options, RankFacts& facts,
                    Needs& needs) {
  const char* check = "recipe";
  try {
    Recipe recipe = read_source(options.source, options.overrides);
    const LaunchDefaults defaults = launch_defaults(world);
    const RunOptions run = read_all_keys(recipe, defaults);
    recipe.required_text("data.train");
    facts.recipe = hash_of_text(recipe.resolved_toml());
    facts.threads = run.compute_threads;
    require_divides(world.size(), run.shards);
    if (world.local_rank() != 0) return;
    check = "data";
    const RunPlan plan = make_plan(std::move(recipe), {.defaults = defaults});
    look_at_pictures(*plan.training_set, facts);
    needs = needs_of(plan);
    if (plan.options.memory_folder != "/dev/shm") needs.node_bytes = 0;
  } catch (const Error& error) {
    facts.own.push_back(finding_of(check, error));
  }
}

std::string gigabytes(uintmax_t bytes) {
  return fmt::format("{:.1f} GB", static_cast<double>(bytes) / 1e9);
}

Finding examine_storage(const fs::path& folder) {
  try {
    const double seconds = try_folder(folder, std::string(kStorageBytes, 'x'));
    const double rate = static_cast<double>(kStorageBytes) / seconds;
    const std::string found =
        fmt::format("'{}': written and synced at {:.0f} MB/s, renamed, read back; {} free",
                    folder.string(), rate / 1e6, gigabytes(fs::space(folder).available));
    if (rate >= kSlowStorage) return {"storage", Level::good, found, ""};
    return {"storage", Level::warning, found,
            "checkpoints will take long; a run folder on faster storage, or "
            "checkpoint.every=\"auto\""};
  } catch (const WriteError& error) {
    return finding_of("storage", error);
  } catch (const fs::filesystem_error& error) {
    return {"storage", Level::failure, error.what(), "name a folder that can be written: --folder"};
  }
}

// Time that each of them takes to send kProbeBytes to all.
std::vector<double> time_sends(const std::vector<int>& senders, comm::Communicator& communicator) {
  std::vector<std::byte> bytes(kProbeBytes);
  std::vector<double> seconds;
  for (const int sender : senders) {
    communicator.barrier();
    const Stopwatch watch;
    communicator.broadcast(bytes, sender);
    communicator.barrier();
    seconds.push_back(watch.seconds());
  }
  return seconds;
}

// All ranks, or where they are many the first of each machine.
std::vector<int> senders_of(const std::vector<RankFacts>& ranks) {
  std::vector<int> senders;
  for (const RankFacts& rank : ranks) {
    if (ranks.size() <= kMostSenders || rank.local_rank == 0) senders.push_back(rank.rank);
  }
  if (senders.size() > kMostSenders) senders.resize(kMostSenders);
  return senders;
}

void look_at_environment(RankFacts& facts) {
  if (std::getenv("LOCKSTEP_FAULT") == nullptr) return;
  facts.own.push_back({"environment", Level::warning,
                       "LOCKSTEP_FAULT is set: runs will fail on purpose", "unset LOCKSTEP_FAULT"});
}

}  // namespace

std::vector<Finding> examine(World& world, const DoctorOptions& options) {
  try {
    world.start();
  } catch (const Error& error) {
    return {finding_of("launch", error)};
  }
  RankFacts facts{.rank = world.rank(),
                  .local_rank = world.local_rank(),
                  .local_ranks = world.local_size(),
                  .program = hash_of_program()};
  Needs needs;
  look_at_machine(facts);
  facts.on_gpu = facts.gpus >= facts.local_ranks;
  look_at_environment(facts);
  if (!options.source.empty()) look_at_recipe(world, options, facts, needs);
  if (world.local_rank() == 0) {
    look_at_torch(facts);
    look_at_gpu_health(facts);
  }
  fs::path folder = options.folder;
  if (folder.empty()) folder = is_run(options.source) ? options.source : fs::path(".");
  if (world.rank() == 0) facts.own.push_back(examine_storage(folder));
  look_at_folder(folder, world, facts);
  meet(facts, world.communicator());
  const std::vector<RankFacts> ranks = gather(facts, world.communicator());
  std::vector<Finding> findings = judge(ranks, needs);
  findings.insert(findings.begin(), describe_launch(world));
  if (ranks.size() > 1) {
    const std::vector<int> senders = senders_of(ranks);
    findings.push_back(judge_sends(ranks, senders, time_sends(senders, world.communicator())));
  }
  return findings;
}

}  // namespace lockstep::runner
