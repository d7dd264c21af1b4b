// When the loop saves, and what it does about what cannot be saved.

#include <fmt/format.h>

#include <algorithm>

#include "comm/error.h"
#include "runner/stopwatch.h"
#include "runner/training.h"

namespace lockstep::runner {
double Training::checkpoint_interval_seconds() const {
  const Interval& every = plan_.options.checkpoint_every;
  // A tenth of a second stands for what the writing takes from the steps meanwhile.
  return every.automatic ? least_loss_seconds(waited_seconds_ + 0.1, world_.size()) : every.seconds;
}

// Whatever anybody wishes meanwhile.
bool Training::checkpoint_planned(int64_t step) const {
  const auto divides = [step](int64_t every) { return every > 0 && step % every == 0; };
  const Retention& keep = plan_.options.retention;
  return step == plan_.steps || divides(plan_.options.checkpoint_every.steps) ||
         divides(keep.every) || (!keep.best.empty() && evaluation_due(step));
}

bool Training::checkpoint_due(const StepResult& sums) const {
  return sums.votes.save || sums.votes.stop || checkpoint_planned(progress_.step);
}

void Training::save_if_due(const StepResult& sums, const jobs::Measures& evaluation) {
  const Stopwatch watch;
  const int64_t copy_every = plan_.options.copy_every_steps;
  if (checkpoint_due(sums)) {
    enter(Phase::checkpoint);
    saved_at_seconds_ = progress_.seconds;
    if (publisher_) publisher_->metrics().enter(monitoring::RunState::saving);
    look_after_writing(TieredCheckpoints::Wait::yes);
    checkpoints_.save(progress_, TieredCheckpoints::Tier::disk, evaluation);
    if (!publisher_) return;
    publisher_->metrics().waited_for_checkpoint(watch.seconds());
    publisher_->metrics().enter(monitoring::RunState::running);
  } else {
    look_after_writing(TieredCheckpoints::Wait::no);
    if (copy_every == 0 || progress_.step % copy_every != 0) return;
    checkpoints_.save(progress_, TieredCheckpoints::Tier::memory);
  }
}

// What follows changes the arenas.
void Training::finish_copy() {
  const Stopwatch watch;
  const std::string wrong = checkpoints_.finish_copy();
  if (!wrong.empty())
    give_up(fmt::format("step {}: the update made {} not finite", progress_.step, wrong));
  const double waited = watch.seconds();
  waited_seconds_ = std::max(waited, 0.9 * waited_seconds_);
  if (publisher_) publisher_->metrics().waited_for_checkpoint(waited);
}

// A full disk may be mended before the next checkpoint is due.
void Training::look_after_writing(TieredCheckpoints::Wait wait, int most_failures) {
  if (const auto copied = checkpoints_.take_copied(); copied && publisher_) {
    publisher_->metrics().saved("memory", copied->progress.step, copied->seconds, copied->bytes);
  }
  try {
    note_saved(checkpoints_.collect(wait));
  } catch (const WriteError& error) {
    if (publisher_) publisher_->metrics().save_failed("disk");
    if (++unsaved_ >= most_failures) throw;
    warn(fmt::format("a checkpoint could not be written: {}; {}", error.what(), error.help()));
  }
}

void Training::finish_saving() {
  enter(Phase::checkpoint);
  finish_copy();
  note_saved(checkpoints_.collect(TieredCheckpoints::Wait::yes));
}

// A run that was killed after it had copied its last step to memory comes here without a step more:
// the copies go when it is done.
void Training::save_what_the_disk_lacks() {
  if (world_.rank() != 0 || checkpoints_.step_on_disk() >= progress_.step) return;
  checkpoints_.save(progress_, TieredCheckpoints::Tier::disk);
  finish_saving();
}

void Training::note_saved(const std::optional<SavedCheckpoint>& saved) {
  if (!saved) return;
  unsaved_ = 0;
  if (publisher_)
    publisher_->metrics().saved("disk", saved->progress.step, saved->seconds, saved->bytes);
  log_.note(fmt::format("saved step {} in {:.2f} s", saved->progress.step, saved->seconds));
}

}  // namespace lockstep::runner
