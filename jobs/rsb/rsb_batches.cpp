#include "jobs/rsb/rsb_batches.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "jobs/evaluation_batches.h"
#include "jobs/pixels/colour.h"
#include "jobs/pixels/crops.h"
#include "jobs/pixels/decode.h"
#include "jobs/pixels/normalise.h"
#include "jobs/pixels/part.h"
#include "jobs/pixels/rand_augment.h"
#include "jobs/pixels/resample.h"
#include "jobs/random.h"
#include "jobs/rsb/mixing.h"

namespace lockstep::jobs {
namespace {

class TrainingBatches final : public BatchMaker {
 public:
  TrainingBatches(const RsbBatchOptions& options, Field::Kind pictures)
      : options_(options), pictures_(pictures) {
    if (!options.rand_augment.empty()) {
      rand_augment_ = pixels::RandAugment::parse(options.rand_augment);
    }
  }

  enum FieldIndex : size_t { kImages, kTargets, kSamples, kLabels, kPixels };

  std::vector<Field> fields(int64_t batch_size) const override {
    using Kind = Field::Kind;
    const int64_t size = options_.size;
    std::vector<Field> fields{{"images", pictures_, {batch_size, 3, size, size}},
                              {"targets", Kind::float32, {batch_size, options_.classes}},
                              {"samples", Kind::int64, {batch_size}},
                              {"labels", Kind::int64, {batch_size}, Field::User::maker}};
    if (pictures_ == Kind::uint8) {
      fields[kImages].normalisation = pixels::kTimm;
    } else {
      fields.push_back({"pixels", Kind::uint8, {batch_size, size, size, 3}, Field::User::maker});
    }
    return fields;
  }

  void make_samples(std::span<const std::byte> file, int64_t label,
                    std::span<const SamplePlace> places, MakerSeconds& seconds) const override {
    PhaseClock clock;
    const pixels::Size picture = pixels::size_of(file);
    std::vector<Random> randoms;
    std::vector<pixels::Box> boxes;
    for (const SamplePlace& place : places) {
      Random& random = randoms.emplace_back(random_of(place.key));
      boxes.push_back(pixels::random_resized_crop(picture.width, picture.height, options_.scale,
                                                  options_.ratio, random));
    }
    const auto decode = options_.fast_decode ? pixels::decode_parts_fast : pixels::decode_parts;
    const int size = static_cast<int>(options_.size);
    const pixels::Parts parts = decode(file, boxes, {&size, 1});
    clock.end_of(seconds.decode);
    for (size_t i = 0; i < places.size(); ++i) {
      const auto& [key, index, arrays] = places[i];
      make_row(parts.of(i).image, parts.of(i).place_of(boxes[i]), randoms[i],
               array_of<uint8_t>(arrays, pixels_field()).data() + index * picture_bytes(), clock,
               seconds);
      array_of<int64_t>(arrays, kLabels)[index] = label;
      array_of<int64_t>(arrays, kSamples)[index] = key.sample;
    }
  }

  void finish_shard(const ShardKey& key, int64_t count, const ShardArrays& arrays) const override {
    Random random(options_.seed, Purpose::mixing, static_cast<uint64_t>(key.step),
                  static_cast<uint64_t>(key.shard));
    const Mixing mixing = draw_mixing(options_.mixup, options_.cutmix, options_.size, random);
    const std::span<uint8_t> pictures = array_of<uint8_t>(arrays, pixels_field())
                                            .first(static_cast<size_t>(count * picture_bytes()));
    mix_pictures(mixing, count, options_.size, pictures);
    mix_targets(mixing, array_of<const int64_t>(arrays, kLabels).first(static_cast<size_t>(count)),
                options_.classes, array_of<float>(arrays, kTargets));
    if (pictures_ == Field::Kind::bfloat16) {
      pixels::normalise_like_timm(pictures, array_of<pixels::BFloat16>(arrays, kImages).data());
    } else if (pictures_ == Field::Kind::float32) {
      pixels::normalise_like_timm(pictures, array_of<float>(arrays, kImages).data());
    }
  }

 private:
  // Repeats of a picture are the same picture with other draws.
  Random random_of(const SampleKey& key) const {
    return {options_.seed, Purpose::augmentation,
            static_cast<uint64_t>(key.epoch) << 8 | static_cast<uint64_t>(key.repeat),
            static_cast<uint64_t>(key.sample)};
  }

  void make_row(const pixels::Image& source, const pixels::Box& box, Random& random, uint8_t* row,
                PhaseClock& clock, MakerSeconds& seconds) const {
    const int size = static_cast<int>(options_.size);
    pixels::Image image = pixels::resize(source, box, size, size, filter(random));
    clock.end_of(seconds.resample);
    if (random.chance(options_.flip)) image = pixels::flip_horizontal(image);
    if (rand_augment_) image = rand_augment_->apply(std::move(image), random, {filter(random)});
    std::memcpy(row, image.rgb.data(), image.rgb.size());
    clock.end_of(seconds.operations);
  }

  size_t pixels_field() const { return pictures_ == Field::Kind::uint8 ? kImages : kPixels; }
  int64_t picture_bytes() const { return 3 * options_.size * options_.size; }

  pixels::Filter filter(Random& random) const {
    if (options_.interpolation == "random") {
      return random.chance(0.5) ? pixels::Filter::bilinear : pixels::Filter::bicubic;
    }
    return options_.interpolation == "bilinear" ? pixels::Filter::bilinear
                                                : pixels::Filter::bicubic;
  }

  RsbBatchOptions options_;
  Field::Kind pictures_;
  std::optional<pixels::RandAugment> rand_augment_;
};

}  // namespace

std::unique_ptr<BatchMaker> make_rsb_training_batches(const RsbBatchOptions& options,
                                                      Field::Kind pictures) {
  return std::make_unique<TrainingBatches>(options, pictures);
}

std::unique_ptr<BatchMaker> make_rsb_evaluation_batches(const RsbBatchOptions& options) {
  const auto size = static_cast<int>(options.evaluation_size);
  const pixels::Filter filter =
      options.interpolation == "bilinear" ? pixels::Filter::bilinear : pixels::Filter::bicubic;
  return make_evaluation_batches(
      size,
      [size, share = options.evaluation_crop, filter](const pixels::Image& image,
                                                      const SampleKey&) {
        return pixels::evaluation_crop(image, size, share, filter);
      },
      pixels::normalise_like_timm);
}

}  // namespace lockstep::jobs
