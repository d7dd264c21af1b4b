#include "jobs/dino/multi_crop.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "jobs/evaluation_batches.h"
#include "jobs/pixels/crop_to_make.h"
#include "jobs/pixels/crops.h"
#include "jobs/pixels/decode.h"
#include "jobs/pixels/hue.h"
#include "jobs/pixels/normalise.h"
#include "jobs/pixels/part.h"
#include "jobs/pixels/resample.h"
#include "jobs/random.h"

namespace lockstep::jobs {
namespace {

using pixels::CropOperations;
using pixels::CropToMake;

constexpr std::array<double, 2> kRatio{3.0 / 4.0, 4.0 / 3.0};
constexpr double kFlip = 0.5;
constexpr double kJitter = 0.8;
constexpr double kGreyscale = 0.2;
constexpr std::array<double, 2> kBlurRadius{0.1, 2.0};
constexpr uint16_t kSolarizeThreshold = 128;
// What a batch has room for of each picture that the device makes crops of; more where the crops
// themselves take more. 591 x 591 pixels.
constexpr size_t kMostPartBytes = size_t{1} << 20;

// What the crops of one picture differ in.
struct View {
  int64_t size;
  std::array<double, 2> scale;
  double blur;      // chance
  double solarize;  // chance
};

// torchvision's ColorJitter(0.4, 0.4, 0.2, 0.1): the four in any order.
void draw_jitter(Random& random, CropOperations& operations) {
  using enum CropOperations::Jitter;
  auto& order = operations.jitter = {brightness, contrast, saturation, hue};
  for (int64_t i = 3; i > 0; --i) {
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(random.integer(0, i + 1))]);
  }
  operations.brightness = static_cast<float>(random.uniform(0.6, 1.4));
  operations.contrast = static_cast<float>(random.uniform(0.6, 1.4));
  operations.saturation = static_cast<float>(random.uniform(0.8, 1.2));
  operations.hue_shift = pixels::hue_shift(random.uniform(-0.1, 0.1));
}

CropOperations draw_operations(const View& view, Random& random) {
  CropOperations operations;
  operations.flips = random.chance(kFlip) ? 1 : 0;
  if (random.chance(kJitter)) draw_jitter(random, operations);
  operations.greyscale = random.chance(kGreyscale) ? 1 : 0;
  if (random.chance(view.blur)) {
    operations.blur = pixels::box_of_gaussian(random.uniform(kBlurRadius[0], kBlurRadius[1]));
  }
  if (view.solarize > 0.0 && random.chance(view.solarize)) {
    operations.solarize_threshold = kSolarizeThreshold;
  }
  return operations;
}

class MultiCrop final : public BatchMaker {
 public:
  MultiCrop(const MultiCropOptions& options, PictureForm pictures)
      : seed_(options.seed), fast_decode_(options.fast_decode), pictures_(pictures) {
    views_.push_back({options.global_size, options.global_scale, 1.0, 0.0});
    views_.push_back({options.global_size, options.global_scale, 0.1, 0.2});
    for (int64_t i = 0; i < options.local_count; ++i) {
      views_.push_back({options.local_size, options.local_scale, 0.5, 0.0});
    }
    for (const View& view : views_) sizes_.push_back(static_cast<int>(view.size));
  }

  std::vector<Field> fields(int64_t batch_size) const override {
    std::vector<Field> fields;
    for (size_t i = 0; i < views_.size(); ++i) {
      const int64_t size = views_[i].size;
      Field& field = fields.emplace_back(
          Field{"crops." + std::to_string(i), pictures_.kind, {batch_size, 3, size, size}});
      if (field.kind == Field::Kind::uint8 || pictures_.device_augments) {
        field.normalisation = pixels::kTorchvision;
      }
      if (pictures_.device_augments) {
        field.unmade = {.pixels = pixels_field(),
                        .crops = crops_field(),
                        .column = i,
                        .columns = views_.size()};
      }
    }
    fields.push_back({"samples", Field::Kind::int64, {batch_size}});
    if (!pictures_.device_augments) return fields;
    const auto add_for_device = [&](const char* name, size_t bytes) {
      fields.push_back({name,
                        Field::Kind::uint8,
                        {batch_size, static_cast<int64_t>(bytes)},
                        Field::User::device});
    };
    add_for_device("pixels", bytes_of_pixels());
    add_for_device("crops", views_.size() * sizeof(CropToMake));
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
    const auto decode = fast_decode_ ? pixels::decode_parts_fast : pixels::decode_parts;
    const pixels::Parts parts = decode(file, boxes, sizes_);
    clock.end_of(seconds.decode);
    for (size_t i = 0; i < places.size(); ++i) {
      const std::span<pixels::Box> of_place =
          std::span(boxes).subspan(i * views_.size(), views_.size());
      for (pixels::Box& box : of_place) box = parts.of(i).place_of(box);
      const Row row{places[i], parts.of(i).image, of_place,
                    std::span(randoms).subspan(i * views_.size(), views_.size())};
      array_of<int64_t>(row.place.arrays, views_.size())[row.place.index] = row.place.key.sample;
      if (pictures_.device_augments) {
        leave_crops(row, clock, seconds);
      } else {
        make_crops(row, clock, seconds);
      }
    }
  }

  void finish_shard(const ShardKey&, int64_t, const ShardArrays&) const override {}

 private:
  // One picture of a batch: what is there of it, and for each view where its crop lies and the rest
  // of its draws.
  struct Row {
    const SamplePlace& place;
    const pixels::Image& part;
    std::span<const pixels::Box> boxes;
    std::span<Random> randoms;
  };

  size_t pixels_field() const { return views_.size() + 1; }  // after the samples
  size_t crops_field() const { return views_.size() + 2; }

  size_t bytes_of_pixels() const {
    size_t crops = 0;
    for (const int size : sizes_) crops += 3 * static_cast<size_t>(size * size);
    return std::max(crops, kMostPartBytes);
  }

  void make_crops(const Row& row, PhaseClock& clock, MakerSeconds& seconds) const {
    for (size_t crop = 0; crop < views_.size(); ++crop) {
      pixels::Image image = pixels::resize(row.part, row.boxes[crop], sizes_[crop], sizes_[crop],
                                           pixels::Filter::bicubic);
      clock.end_of(seconds.resample);
      image = pixels::augment(std::move(image), draw_operations(views_[crop], row.randoms[crop]));
      put(image, row.place.arrays, crop, row.place.index);
      clock.end_of(seconds.operations);
    }
  }

  void put(const pixels::Image& image, const ShardArrays& arrays, size_t field, int64_t row) const {
    const std::span<const uint8_t> rgb = image.rgb;
    const auto place = static_cast<size_t>(row) * rgb.size();
    if (pictures_.kind == Field::Kind::bfloat16) {
      pixels::normalise_like_torchvision(rgb,
                                         array_of<pixels::BFloat16>(arrays, field).data() + place);
    } else if (pictures_.kind == Field::Kind::float32) {
      pixels::normalise_like_torchvision(rgb, array_of<float>(arrays, field).data() + place);
    } else {
      std::ranges::copy(rgb, array_of<uint8_t>(arrays, field).data() + place);
    }
  }

  void leave_crops(const Row& row, PhaseClock& clock, MakerSeconds& seconds) const {
    const auto of_row = [&row](auto all, size_t each) {
      return all.subspan(static_cast<size_t>(row.place.index) * each, each);
    };
    const ShardArrays& arrays = row.place.arrays;
    const auto memory = of_row(array_of<uint8_t>(arrays, pixels_field()), bytes_of_pixels());
    const auto crops = of_row(array_of<CropToMake>(arrays, crops_field()), views_.size());
    pixels::leave_crops(row.part, row.boxes, sizes_, memory, crops);
    clock.end_of(seconds.resample);
    for (size_t i = 0; i < crops.size(); ++i) {
      crops[i].operations = draw_operations(views_[i], row.randoms[i]);
    }
    clock.end_of(seconds.operations);
  }

  uint64_t seed_;
  bool fast_decode_;
  PictureForm pictures_;
  std::vector<View> views_;
  std::vector<int> sizes_;  // of each
};

}  // namespace

std::unique_ptr<BatchMaker> make_multi_crop(const MultiCropOptions& options, PictureForm pictures) {
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
