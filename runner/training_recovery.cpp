// What the loop does about numbers that cannot be right.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "runner/error_of_all.h"
#include "runner/training.h"
#include "runner/weights_check.h"

namespace lockstep::runner {

void Training::spoil_on_purpose(const jobs::Tensors& batch) {
  const at::NoGradGuard no_grad;
  const at::Tensor& images = batch.begin()->second;
  const at::Tensor& weights = model_.arenas.parameters;
  if (fault_->spoils_batch(progress_.step)) images.fill_(std::numeric_limits<float>::quiet_NaN());
  if (fault_->spoils_weights(progress_.step)) {
    finish_copy();
    weights.narrow(0, 0, 1).mul_(1.0 + 1e-6);
  }
}

// All ranks hold the same sums, so all of them decide the same.
bool Training::rolled_back_from(const StepResult& sums) {
  using NonFinite = CheckOptions::NonFinite;
  if (sums.left_out == 0) return false;
  const int64_t step = progress_.step + 1;
  const std::string what =
      sums.steps == 1
          ? fmt::format("step {}: the {} is not a finite number", step,
                        std::isfinite(sums.loss) ? "gradient" : "loss")
          : fmt::format("steps {} to {}: the loss or the gradient of {} is not a finite number",
                        step - sums.steps + 1, step, sums.left_out);
  if (plan_.options.check.non_finite == NonFinite::stop) give_up(what);
  count_failure(what);
  if (plan_.options.check.non_finite == NonFinite::roll_back) {
    if (publisher_) publisher_->metrics().non_finite("roll_back");
    roll_back(what, Newest::any);
    return true;
  }
  if (publisher_) publisher_->metrics().non_finite("skip");
  warn(what + "; its update is left out");
  return false;
}

// What goes to the disk is looked at too: a roll-back trusts it.
bool Training::rolled_back_from_other_weights(const StepResult& sums) {
  const int64_t every = plan_.options.check.weights_every;
  if (every == 0 || (progress_.step % every != 0 && !checkpoint_due(sums))) return false;
  const std::string who = weights_that_differ(model_.arenas, world_.communicator());
  if (who.empty()) return false;
  if (publisher_) publisher_->metrics().weights_differed();
  const std::string what = fmt::format("step {}: {}", progress_.step, who);
  count_failure(what);
  roll_back(what, Newest::on_disk);
  return true;
}

void Training::count_failure(const std::string& what) {
  const bool in_a_row = failures_ > 0 && progress_.step <= failed_step_ + 1;
  failures_ = in_a_row ? failures_ + 1 : 1;
  failed_step_ = progress_.step;
  if (failures_ > plan_.options.check.limit) give_up(what);
}

void Training::give_up(const std::string& what) {
  look_after_writing(TieredCheckpoints::Wait::yes, std::numeric_limits<int>::max());
  const std::vector<int64_t> saved = checkpoints_.store().steps();
  throw ErrorOfAll(Error(
      ExitCode::non_finite, "E601",
      fmt::format("{}; the weights are those of step {}{}", what, progress_.step,
                  failures_ > 1 ? fmt::format(", after {} failures in a row", failures_) : ""),
      fmt::format("lower optimizer.learning_rate or lengthen the warm-up; {}",
                  saved.empty() ? std::string("nothing was saved yet")
                                : fmt::format("the newest checkpoint is step {}", saved.back()))));
}

// The run goes on from there as if it had been resumed. Nobody compared the copies in memory with
// other ranks' weights.
void Training::roll_back(const std::string& what, Newest newest) {
  const int64_t reached = progress_.step;
  enter(Phase::checkpoint);
  finish_copy();
  look_after_writing(TieredCheckpoints::Wait::yes);
  if (newest == Newest::on_disk) checkpoints_.forget_copies();
  try {
    progress_ = checkpoints_.restore(world_.communicator(),
                                     [this](const std::string& problem) { warn(problem); }, {});
  } catch (const CheckpointError&) {
    give_up(what);
  }
  start_loader();
  saved_at_seconds_ = progress_.seconds;
  if (metrics_log_) metrics_log_.emplace(run_.metrics(), progress_.step);
  if (events_) events_->go_back_to(progress_.step);
  if (publisher_) publisher_->metrics().lost(reached - progress_.step);
  warn(fmt::format("{}; rolled back to step {}", what, progress_.step));
}

}  // namespace lockstep::runner
