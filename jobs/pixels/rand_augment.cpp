#include "jobs/pixels/rand_augment.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace lockstep::pixels {
namespace {

constexpr double kFullMagnitude = 10.0;

const std::vector<const char*> kPlain{"AutoContrast", "Equalize",      "Invert",       "Rotate",
                                      "Posterize",    "Solarize",      "SolarizeAdd",  "Color",
                                      "Contrast",     "Brightness",    "Sharpness",    "ShearX",
                                      "ShearY",       "TranslateXRel", "TranslateYRel"};
const std::vector<const char*> kIncreasing{"AutoContrast",
                                           "Equalize",
                                           "Invert",
                                           "Rotate",
                                           "PosterizeIncreasing",
                                           "SolarizeIncreasing",
                                           "SolarizeAdd",
                                           "ColorIncreasing",
                                           "ContrastIncreasing",
                                           "BrightnessIncreasing",
                                           "SharpnessIncreasing",
                                           "ShearX",
                                           "ShearY",
                                           "TranslateXRel",
                                           "TranslateYRel"};

double parse_number(std::string_view section, std::string_view digits) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    throw std::invalid_argument("'" + std::string(section) +
                                "' in the RandAugment text has no number");
  }
  return value;
}

bool is_enhancement(std::string_view name) {
  return name == "Color" || name == "Contrast" || name == "Brightness" || name == "Sharpness";
}

}  // namespace

RandAugment RandAugment::parse(std::string_view text) {
  RandAugment augment;
  bool increasing = false;
  bool first = true;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('-', begin), text.size());
    const std::string_view section = text.substr(begin, end - begin);
    begin = end + 1;
    if (std::exchange(first, false)) {
      if (section != "rand") throw std::invalid_argument("a RandAugment text starts with 'rand'");
      continue;
    }
    const size_t digits = std::min(section.find_first_of("0123456789."), section.size());
    const std::string_view key = section.substr(0, digits);
    if (key.starts_with('t')) {
      throw std::invalid_argument("'" + std::string(section) +
                                  "' names a set of operations that is "
                                  "not supported");
    }
    const double value = parse_number(section, section.substr(digits));
    if (key == "m")
      augment.magnitude_ = std::trunc(value);
    else if (key == "n")
      augment.layers_ = static_cast<int>(std::clamp(value, 0.0, 100.0));
    else if (key == "p")
      augment.probability_ = value;
    else if (key == "mstd")
      augment.deviation_ = value;
    else if (key == "mmax")
      augment.most_ = std::trunc(value);
    else if (key == "inc")
      increasing = value != 0.0;
    else
      throw std::invalid_argument("'" + std::string(section) +
                                  "' is not a part of a RandAugment text");
  }
  augment.uniform_ = augment.deviation_ > 100.0;
  augment.operations_ = increasing ? kIncreasing : kPlain;
  return augment;
}

double RandAugment::draw_magnitude(jobs::Random& random) const {
  double magnitude = magnitude_;
  if (uniform_) {
    magnitude = random.uniform(0.0, magnitude_);
  } else if (deviation_ > 0.0) {
    magnitude = random.normal(magnitude_, deviation_);
  }
  return std::clamp(magnitude, 0.0, most_);
}

Image RandAugment::apply(Image image, jobs::Random& random, const Geometry& geometry) const {
  for (int i = 0; i < layers_; ++i) {
    const char* name = operations_[static_cast<size_t>(
        random.integer(0, static_cast<int64_t>(operations_.size())))];
    if (!random.chance(probability_)) continue;
    const double magnitude = draw_magnitude(random);
    image = apply_operation(image, name, operation_value(name, magnitude, random.chance(0.5)),
                            geometry);
  }
  return image;
}

double operation_value(std::string_view name, double magnitude, bool negative) {
  const double level = magnitude / kFullMagnitude;
  const double sign = negative ? -1.0 : 1.0;
  if (name == "Rotate") return sign * (level * 30.0);
  if (name == "ShearX" || name == "ShearY") return sign * (level * 0.3);
  if (name == "TranslateXRel" || name == "TranslateYRel") return sign * (level * 0.45);
  if (name == "Posterize") return std::trunc(level * 4);
  if (name == "PosterizeIncreasing") return 4 - std::trunc(level * 4);
  if (name == "PosterizeOriginal") return std::trunc(level * 4) + 4;
  if (name == "Solarize") return std::min(256.0, std::trunc(level * 256));
  if (name == "SolarizeIncreasing") return 256 - std::min(256.0, std::trunc(level * 256));
  if (name == "SolarizeAdd") return std::min(128.0, std::trunc(level * 110));
  if (is_enhancement(name)) return level * 1.8 + 0.1;
  if (name.ends_with("Increasing")) return std::max(0.1, 1.0 + sign * (level * 0.9));
  return 0.0;
}

}  // namespace lockstep::pixels
