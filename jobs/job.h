#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "jobs/batch_maker.h"
#include "jobs/job_recipe.h"
#include "jobs/placement.h"
#include "jobs/tensors.h"

namespace lockstep::jobs {

constexpr int64_t kNeverTrained = std::numeric_limits<int64_t>::max();

/// One tensor that a job asks for: the runner lays all of a kind into one arena.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  bool decays = true;          // parameters: weight decay applies
  int64_t frozen_steps = 0;    // parameters: so many updates at first leave it out altogether
  bool channels_last = false;  // four dimensions, the second innermost in memory
  float initial = 0.0f;        // buffers: what they start from

  /// Buffers: whether the average has one of its own.
  enum class Twin {
    none,
    follows,   // as it follows parameters
    separate,  // the job moves it
  };
  Twin twin = Twin::none;
};

/// The views that a job works on; bound once, alive as long as the job. `average` and
/// `average_buffers` are empty where the recipe keeps no average.
struct State {
  Tensors parameters;
  Tensors buffers;
  Tensors average;
  Tensors average_buffers;
};

enum class Split { training, validation };

/// Batches of this rank, one after the other: the fields of a batch maker as tensors on the device.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  /// The next batch, `rows` of which count; null after the last. Valid until the next call.
  virtual const Tensors* next(int64_t* rows) = 0;
};

/// Passes over the training set by an evaluation that learns.
struct Epochs {
  uint64_t seed = 0;
  int64_t count = 0;
  int64_t batch_size = 0;
};

/// The pictures that an evaluation may look at. How they are cut into batches does not depend on
/// the number of ranks, so that neither do the numbers that come out.
class EvaluationSets {
 public:
  virtual ~EvaluationSets() = default;
  /// This rank's part of all pictures of one set, each once. `maker` must outlive the source.
  virtual std::unique_ptr<BatchSource> open(Split split, const BatchMaker& maker) const = 0;
  /// This rank's rows of each batch of `batch_size` (over all ranks) in shuffled epochs of the
  /// training set, what is over at an epoch's end left out. The batches do not depend on the number
  /// of ranks. Throws UsageError where the ranks cannot share a batch evenly, or the set is smaller
  /// than one.
  virtual std::unique_ptr<BatchSource> open_epochs(const BatchMaker& maker,
                                                   const Epochs& epochs) const = 0;
  virtual int64_t size(Split split) const = 0;  // pictures, over all ranks
  virtual int64_t classes() const = 0;
};

/// What is to be evaluated, and what is wanted beside the measures.
struct EvaluationRequest {
  std::string task;              // one of the recipe's; empty: the first of them
  std::filesystem::path images;  // for a task on pictures of its own: a folder or a file
  bool use_average = false;      // the average in place of the parameters
  // Per batch of this rank: "samples" and what the model gave.
  std::vector<Tensors>* outputs = nullptr;
  // Puts a file, named by its path below the folder for drawings. Any rank; empty where no such
  // folder was named, which a task that draws never sees.
  std::function<void(const std::filesystem::path& name, std::span<const std::byte> bytes)> write;
};

using Measures = std::vector<std::pair<std::string, double>>;

/// The mathematics of one kind of training. The runner owns time: it calls, in each step and for
/// each of this rank's shards, loss() and its backward; after the sum over all shards after_sum();
/// then it updates parameters and average. Used by one thread. A job never communicates within a
/// step: what must be added up over the shards it writes into its sums.
class Job {
 public:
  virtual ~Job() = default;

  /// In the order of registration, which is that of the arenas.
  virtual std::vector<TensorSpec> parameters() const = 0;
  /// State that no gradient moves: running statistics, DINO's centre.
  virtual std::vector<TensorSpec> buffers() const = 0;
  /// What is summed over the shards beside the gradients: float32, zero at the start of each shard.
  virtual std::vector<TensorSpec> sums() const = 0;

  /// Hands over the views. Called once, before everything below.
  virtual void bind(State state) = 0;
  /// Draws the initial parameters as the published code does; a pure function of the seed.
  virtual void initialise(uint64_t seed) = 0;

  virtual const BatchMaker& training_batches() const = 0;

  /// True for a job whose norms take the statistics of the whole batch: a rank's shards then come
  /// as one, the key being that of the first, and each step communicates more than once.
  virtual bool joins_shards() const { return false; }
  /// Whom such norms add up with; called once, before the first step.
  virtual void synchronise_over(comm::Communicator&) {}

  /// What loss() wants of a shard beside its pictures, drawn or scheduled: tensors on a processor.
  virtual Tensors inputs(const Tensors& batch, const ShardKey& key) const = 0;
  /// The mean loss of one shard, a scalar to be differentiated; fills `sums` with what this shard
  /// adds. `batch` has the inputs too. All that changes from step to step is in its tensors and in
  /// the bound ones, and no number is asked of them: on a GPU this may be recorded once and then
  /// run again and again without being called.
  virtual at::Tensor loss(const Tensors& batch, const Tensors& sums) = 0;
  /// `sums` are those of all `shards`; moves the buffers.
  virtual void after_sum(const Tensors& sums, int64_t shards) = 0;
  /// How much of the average is kept by the update that makes step `step` (counted from 1).
  virtual double average_decay(int64_t step) const = 0;

  /// What the job has to tell of the step whose sums came last, beside its loss. May wait for the
  /// device.
  virtual Measures report() { return {}; }
  /// Empty as long as training goes well; else what is wrong, what it means and what to try. Judges
  /// by the reports given so far.
  virtual std::string concern() const { return {}; }

  /// All ranks together, exact over the whole set; every rank gets the same measures.
  virtual Measures evaluate(const EvaluationSets& sets, comm::Communicator& communicator,
                            const EvaluationRequest& request) = 0;
};

/// The job that a recipe asks for. The second and last place that lists the jobs: read_job() is the
/// first.
std::unique_ptr<Job> make_job(const JobRecipe& recipe, const Timeline& timeline,
                              const Placement& placement);

}  // namespace lockstep::jobs
