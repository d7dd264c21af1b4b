#include "runner/drawn_batch.h"

#include "jobs/pixels/draw.h"
#include "jobs/pixels/encode.h"
#include "jobs/random.h"

namespace lockstep::runner {
namespace {

constexpr int kSide = 96;
constexpr int kQuality = 90;

std::vector<std::vector<std::byte>> draw_files(uint64_t seed) {
  std::vector<std::vector<std::byte>> files;
  for (size_t i = 0; i < pixels::drawn_classes().size(); ++i) {
    jobs::Random random(seed, jobs::Purpose::pictures, 0, i);
    const pixels::Image picture = pixels::draw_picture(static_cast<int64_t>(i), kSide, random);
    files.push_back(pixels::encode_jpeg(picture, kQuality));
  }
  return files;
}

}  // namespace

ShardMemory draw_batch(const RunPlan& plan) {
  const int64_t rows = plan.sampler.shard_batch_size();
  const auto maker = plan.job->training_batches(plan.options.pictures);
  const std::vector<std::vector<std::byte>> files = draw_files(plan.options.seed);
  ShardMemory memory(maker->fields(rows));
  jobs::MakerSeconds seconds;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t label = plan.job->classes() == 0 ? 0 : i % plan.job->classes();
    const std::vector<std::byte>& file = files[static_cast<size_t>(i) % files.size()];
    const jobs::SamplePlace place{.key = {.sample = i}, .index = i, .arrays = memory.arrays()};
    maker->make_samples(file, label, {&place, 1}, seconds);
  }
  maker->finish_shard({}, rows, memory.arrays());
  return memory;
}

}  // namespace lockstep::runner
