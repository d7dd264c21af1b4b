#include "jobs/dino/multi_crop.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "jobs/evaluation_batches.h"
#include "jobs/pixels/blur.h"
#include "jobs/pixels/colour.h"
#include "jobs/pixels/crops.h"
#include "jobs/pixels/decode.h"
#include "jobs/pixels/hue.h"
#include "jobs/pixels/normalise.h"
#include "jobs/pixels/part.h"
#include "jobs/pixels/resample.h"
#include "jobs/random.h"

namespace lockstep::jobs {
namespace {

constexpr std::array<double, 2> kRatio{3.0 / 4.0, 4.0 / 3.0};
constexpr double kFlip = 0.5;
constexpr double kJitter = 0.8;
constexpr double kGreyscale = 0.2;
constexpr std::array<double, 2> kBlurRadius{0.1, 2.0};
constexpr int kSolarizeThreshold = 128;

// What the crops of one picture differ in.
struct View {
  int64_t size;
  std::array<double, 2> scale;
  double blur;      // chance
  double solarize;  // chance
};

// torchvision's ColorJitter(0.4, 0.4, 0.2, 0.1): the four in any order.
pixels::Image jitter(pixels::Image image, Random& random) {
  std::array<int, 4> order{0, 1, 2, 3};
  for (int64_t i = 3; i > 0; --i) {
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(random.integer(0, i + 1))]);
  }
  const double brightness = random.uniform(0.6, 1.4);
  const double contrast = random.uniform(0.6, 1.4);
  const double saturation = random.uniform(0.8, 1.2);
  const double hue = random.uniform(-0.1, 0.1);
  for (const int operation : order) {
    switch (operation) {
      case 0:
        image = pixels::brightness(image, brightness);
        break;
      case 1:
        image = pixels::contrast(image, contrast);
        break;
      case 2:
        image = pixels::colour(image, saturation);
        break;
      default:
        image = pixels::hue(image, hue);
        break;
    }
  }
  return image;
}

pixels::Image augment(pixels::Image image, const View& view, Random& random) {
  if (random.chance(kFlip)) image = pixels::flip_horizontal(image);
  if (random.chance(kJitter)) image = jitter(std::move(image), random);
  if (random.chance(kGreyscale)) image = pixels::greyscale(image);
  if (random.chance(view.blur)) {
    image = pixels::gaussian_blur(image, random.uniform(kBlurRadius[0], kBlurRadius[1]));
  }
  if (view.solarize > 0.0 && random.chance(view.solarize)) {
    image = pixels::solarize(image, kSolarizeThreshold);
  }
  return image;
}

class MultiCrop final : public BatchMaker {
 public:
  MultiCrop(const MultiCropOptions& options, Field::Kind pictures)
      : seed_(options.seed), fast_decode_(options.fast_decode), pictures_(pictures) {
    views_.push_back({options.global_size, options.global_scale, 1.0, 0.0});
    views_.push_back({options.global_size, options.global_scale, 0.1, 0.2});
    for (int64_t i = 0; i < options.local_count; ++i) {
      views_.push_back({options.local_size, options.local_scale, 0.5, 0.0});
    }
  }

  std::vector<Field> fields(int64_t batch_size) const override {
    std::vector<Field> fields;
    for (const View& view : views_) {
      fields.push_back({"crops." + std::to_string(fields.size()),
                        pictures_,
                        {batch_size, 3, view.size, view.size}});
      if (pictures_ == Field::Kind::uint8) fields.back().normalisation = pixels::kTorchvision;
    }
    fields.push_back({"samples", Field::Kind::int64, {batch_size}});
    return fields;
  }

  void make_samples(std::span<const std::byte> file, int64_t, std::span<const SamplePlace> places,
                    MakerSeconds& seconds) const override {
    PhaseClock clock;
    const pixels::Size picture = pixels::size_of(file);
    std::vector<Random> randoms;
    std::vector<pixels::Box> boxes;
    for (const SamplePlace& place : places) {
      for (size_t crop = 0; crop < views_.size(); ++crop) {
        Random& random = randoms.emplace_back(seed_, Purpose::augmentation,
                                              static_cast<uint64_t>(place.key.epoch) << 8 | crop,
                                              static_cast<uint64_t>(place.key.sample));
        boxes.push_back(pixels::random_resized_crop(picture.width, picture.height,
                                                    views_[crop].scale, kRatio, random));
      }
    }
    const pixels::Part part = decode(file, boxes);
    clock.end_of(seconds.decode);
    for (size_t i = 0; i < boxes.size(); ++i) {
      const size_t crop = i % views_.size();
      const auto& [key, index, arrays] = places[i / views_.size()];
      const int size = static_cast<int>(views_[crop].size);
      pixels::Image image =
          pixels::resize(part.image, part.place_of(boxes[i]), size, size, pixels::Filter::bicubic);
      clock.end_of(seconds.resample);
      image = augment(std::move(image), views_[crop], randoms[i]);
      put(image, arrays, crop, index);
      array_of<int64_t>(arrays, views_.size())[index] = key.sample;
      clock.end_of(seconds.operations);
    }
  }

  void finish_shard(const ShardKey&, int64_t, const ShardArrays&) const override {}

 private:
  void put(const pixels::Image& image, const ShardArrays& arrays, size_t field, int64_t row) const {
    const std::span<const uint8_t> rgb = image.rgb;
    const auto place = static_cast<size_t>(row) * rgb.size();
    if (pictures_ == Field::Kind::bfloat16) {
      pixels::normalise_like_torchvision(rgb,
                                         array_of<pixels::BFloat16>(arrays, field).data() + place);
    } else if (pictures_ == Field::Kind::float32) {
      pixels::normalise_like_torchvision(rgb, array_of<float>(arrays, field).data() + place);
    } else {
      std::ranges::copy(rgb, array_of<uint8_t>(arrays, field).data() + place);
    }
  }

  // Boxes of one view after another, time and again.
  pixels::Part decode(std::span<const std::byte> file, std::span<const pixels::Box> boxes) const {
    if (!fast_decode_) return pixels::decode_part(file, boxes);
    int most_times = 8;
    for (size_t i = 0; i < boxes.size(); ++i) {
      const int size = static_cast<int>(views_[i % views_.size()].size);
      most_times = std::min(most_times, pixels::reduction_for({&boxes[i], 1}, size));
    }
    return pixels::decode_part_fast(file, boxes, most_times);
  }

  uint64_t seed_;
  bool fast_decode_;
  Field::Kind pictures_;
  std::vector<View> views_;
};

}  // namespace

std::unique_ptr<BatchMaker> make_multi_crop(const MultiCropOptions& options, Field::Kind pictures) {
  return std::make_unique<MultiCrop>(options, pictures);
}

std::unique_ptr<BatchMaker> make_dino_evaluation_batches(const MultiCropOptions& options) {
  const auto shorter = static_cast<int>(options.evaluation_resize);
  const auto size = static_cast<int>(options.evaluation_crop);
  return make_evaluation_batches(
      size,
      [shorter, size](const pixels::Image& image, const SampleKey&) {
        return pixels::resized_centre(image, shorter, size, pixels::Filter::bicubic);
      },
      pixels::normalise_like_torchvision);
}

}  // namespace lockstep::jobs
