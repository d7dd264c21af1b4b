#include "jobs/evaluation_batches.h"

#include <utility>

#include "jobs/pixels/decode.h"

namespace lockstep::jobs {
namespace {

using Cut = std::function<pixels::Image(const pixels::Image&, const SampleKey&)>;
using Normalise = void (*)(std::span<const uint8_t>, float*);

class EvaluationBatches final : public BatchMaker {
 public:
  EvaluationBatches(int64_t size, Cut cut, Normalise normalise)
      : size_(size), cut_(std::move(cut)), normalise_(normalise) {}

  enum FieldIndex : size_t { kImages, kLabels, kSamples };

  std::vector<Field> fields(int64_t batch_size) const override {
    using Kind = Field::Kind;
    return {{"images", Kind::float32, {batch_size, 3, size_, size_}},
            {"labels", Kind::int64, {batch_size}},
            {"samples", Kind::int64, {batch_size}}};
  }

  void make_samples(std::span<const std::byte> file, int64_t label,
                    std::span<const SamplePlace> places, MakerSeconds& seconds) const override {
    PhaseClock clock;
    const pixels::Image whole = pixels::decode(file);
    clock.end_of(seconds.decode);
    for (const auto& [key, index, arrays] : places) {
      const pixels::Image image = cut_(whole, key);
      clock.end_of(seconds.resample);
      normalise_(image.rgb, array_of<float>(arrays, kImages).data() +
                                index * static_cast<int64_t>(image.rgb.size()));
      array_of<int64_t>(arrays, kLabels)[index] = label;
      array_of<int64_t>(arrays, kSamples)[index] = key.sample;
      clock.end_of(seconds.operations);
    }
  }

  void finish_shard(const ShardKey&, int64_t, const ShardArrays&) const override {}

 private:
  int64_t size_;
  Cut cut_;
  Normalise normalise_;
};

}  // namespace

std::unique_ptr<BatchMaker> make_evaluation_batches(int64_t size, Cut cut, Normalise normalise) {
  return std::make_unique<EvaluationBatches>(size, std::move(cut), normalise);
}

}  // namespace lockstep::jobs
