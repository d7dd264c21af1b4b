#include "runner/checkpoints/tiered_checkpoints.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>
#include <utility>

#include "comm/error.h"
#include "runner/checkpoints/checkpoint.h"
#include "runner/node_memory.h"
#include "runner/stopwatch.h"

namespace lockstep::runner {
namespace {

namespace fs = std::filesystem;

void copy_arenas(const Arenas& from, const Arenas& to) {
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> source = from.all(), target = to.all();
  for (size_t i = 0; i < source.size(); ++i) at::Tensor(target[i]).copy_(source[i]);
}

}  // namespace

double least_loss_seconds(double cost_seconds, int ranks) {
  constexpr double between_failures_seconds = 16384.0 * 54.0 * 86400.0 / 419.0;  // of one GPU
  return std::clamp(std::sqrt(2.0 * cost_seconds * between_failures_seconds / ranks), 60.0, 3600.0);
}

TieredCheckpoints::TieredCheckpoints(const RunPlan& plan, const Arenas& arenas, const World& world,
                                     const RunDirectory& run, const std::string& id,
                                     const Report& report)
    : plan_(plan), arenas_(arenas), store_(run.checkpoints()), writes_(world.rank() == 0) {
  if (writes_) store_.probe(static_cast<int64_t>(arenas.bytes()), plan.options.retention, report);
  if (world.local_rank() == 0 && plan.options.copy_every_steps > 0) {
    try {
      make_copies(folder_of_user(plan.options.memory_folder) / id, run);
    } catch (const WriteError& error) {
      copies_.clear();
      remove_copies();
      report(fmt::format("no copies of the state in this node's memory, which need {} MB: {}",
                         2 * arenas.bytes() / 1000000, error.what()));
    }
  }
  if (copies_.empty() && writes_) copies_.emplace_back(arenas, "");
}

// A thread that still reads the arenas must be done before they go.
TieredCheckpoints::~TieredCheckpoints() {
  if (copying_.valid()) copying_.wait();
  if (writing_.valid()) writing_.wait();
}

// Its own copies are held before others are freed.
void TieredCheckpoints::make_copies(const fs::path& folder, const RunDirectory& run) {
  lock_.emplace(hold_copies(folder, run));
  folder_ = folder;
  free_left_overs(folder.parent_path());
  for (const char* name : {"copy-0", "copy-1"}) copies_.emplace_back(arenas_, folder / name);
}

bool TieredCheckpoints::writing() const {
  return writing_.valid() &&
         writing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
}

// Not the one that the disk is getting, and else the older: one of the two is always whole.
Snapshot& TieredCheckpoints::free_copy() {
  const auto use = [this](const Snapshot& copy) {
    const std::optional<Progress> progress = copy.progress();
    return std::pair(writing() && &copy == written_, progress ? progress->step : -1);
  };
  return *std::ranges::min_element(copies_, {}, use);
}

void TieredCheckpoints::save(const Progress& progress, Tier tier,
                             const jobs::Measures& evaluation) {
  if (folder_.empty() && (tier == Tier::memory || !writes_)) return;
  finish_copy();
  Snapshot& copy = free_copy();
  const auto take = [this, &copy, progress]() -> Copied {
    const Stopwatch watch;
    const std::string wrong = copy.copy(arenas_);
    if (!wrong.empty()) return {.not_finite = wrong};
    copy.seal(progress);
    return {.saved = {.progress = progress, .seconds = watch.seconds(), .bytes = copy.bytes()}};
  };
  copying_ = std::async(std::launch::async, take).share();
  if (lock_) ::futimens(lock_->number(), nullptr);
  if (tier == Tier::disk && writes_)
    begin_writing(copy, {.progress = progress,
                         .recipe = plan_.recipe.resolved_json(),
                         .evaluation = {evaluation.begin(), evaluation.end()}});
}

void TieredCheckpoints::begin_writing(const Snapshot& copy, Manifest manifest) {
  const auto write = [this, &copy, manifest = std::move(manifest),
                      copying = copying_]() -> std::optional<SavedCheckpoint> {
    if (!copying.get().not_finite.empty()) return std::nullopt;
    const Stopwatch watch;
    const Progress& progress = manifest.progress;
    store_.save(manifest, plan_.options.retention, [&](const fs::path& folder) {
      Manifest::Files files = write_arenas(copy.arenas(), folder);
      if (fault_) fault_->break_writing(folder, progress.step);
      return files;
    });
    if (fault_) fault_->break_written(store_.path(progress.step), progress.step);
    return SavedCheckpoint{.progress = progress, .seconds = watch.seconds(), .bytes = copy.bytes()};
  };
  written_ = &copy;
  writing_ = std::async(std::launch::async, write);
}

std::string TieredCheckpoints::finish_copy() {
  if (!copying_.valid()) return {};
  const Copied copied = copying_.get();
  copying_ = {};
  if (copied.not_finite.empty() && !folder_.empty()) copied_ = copied.saved;
  return copied.not_finite;
}

std::optional<SavedCheckpoint> TieredCheckpoints::collect(Wait wait) {
  if (!writing_.valid() || (wait == Wait::no && writing())) return std::nullopt;
  std::optional<SavedCheckpoint> saved = writing_.get();
  if (saved) step_on_disk_ = saved->progress.step;
  return saved;
}

std::optional<SavedCheckpoint> TieredCheckpoints::take_copied() {
  return std::exchange(copied_, std::nullopt);
}

void TieredCheckpoints::forget_copies() {
  finish_copy();
  for (Snapshot& copy : copies_) copy.forget();
}

void TieredCheckpoints::remove_copies() {
  finish_copy();
  std::error_code code;
  if (!folder_.empty()) fs::remove_all(folder_, code);
}

// A damaged one is forgotten, so that the next copy takes its place and not that of a sound one.
const Snapshot* TieredCheckpoints::newest_copy() {
  finish_copy();
  const Snapshot* newest = nullptr;
  for (Snapshot& copy : copies_) {
    if (!copy.verified()) {
      copy.forget();
    } else if (newest == nullptr || copy.progress()->step > newest->progress()->step) {
      newest = &copy;
    }
  }
  return newest;
}

// What a sound copy is ahead of need not be read.
std::optional<SoundCheckpoint> TieredCheckpoints::newest_on_disk(int64_t copied_step,
                                                                 const Report& report) const {
  if (copied_step < 0) return store_.newest_sound(report);
  return store_.newest_sound_since(copied_step, report);
}

Progress TieredCheckpoints::restore(comm::Communicator& communicator, const Report& report,
                                    const std::function<void(const SoundCheckpoint&)>& accept) {
  const Snapshot* copy = newest_copy();
  const Progress mine = copy == nullptr ? Progress{.step = -1} : *copy->progress();
  std::vector<Progress> proven(static_cast<size_t>(communicator.size()));
  communicator.gather(std::as_bytes(std::span(&mine, 1)),
                      std::as_writable_bytes(std::span(proven)));
  const auto newest = std::ranges::max_element(proven, {}, &Progress::step);
  const auto root = static_cast<int>(newest - proven.begin());

  // Rank 0 alone knows the folder: what is sound there decides for all.
  std::optional<SoundCheckpoint> on_disk;
  if (communicator.rank() == 0) on_disk = newest_on_disk(newest->step, report);
  Progress progress = on_disk ? on_disk->manifest.progress : Progress{.step = -1};
  step_on_disk_ = progress.step;
  communicator.broadcast(std::as_writable_bytes(std::span(&progress, 1)), 0);
  if (progress.step < 0) {
    if (communicator.rank() == root) copy_arenas(copy->arenas(), arenas_);
    broadcast_arenas(arenas_, communicator, root);
    return *newest;
  }
  if (on_disk && accept) accept(*on_disk);
  read_arenas(arenas_, on_disk ? on_disk->path : fs::path(), communicator);
  return progress;
}

}  // namespace lockstep::runner
