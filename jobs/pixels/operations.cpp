#include "jobs/pixels/operations.h"

#include "jobs/pixels/affine.h"
#include "jobs/pixels/blur.h"
#include "jobs/pixels/colour.h"
#include "jobs/pixels/hue.h"

namespace lockstep::pixels {
namespace {

struct Operation {
  const char* name;
  Image (*apply)(const Image&, double, const Geometry&);
};

Image move(const Image& source, double x, double y, const Geometry& g) {
  return affine(source, {1, 0, x, 0, 1, y}, g.filter, g.fill);
}

constexpr auto posterize_bits = [](const Image& i, double v, const Geometry&) {
  return posterize(i, static_cast<int>(v));
};
constexpr auto solarize_above = [](const Image& i, double v, const Geometry&) {
  return solarize(i, static_cast<int>(v));
};
constexpr auto colour_by = [](const Image& i, double v, const Geometry&) { return colour(i, v); };
constexpr auto contrast_by = [](const Image& i, double v, const Geometry&) {
  return contrast(i, v);
};
constexpr auto brightness_by = [](const Image& i, double v, const Geometry&) {
  return brightness(i, v);
};
constexpr auto sharpness_by = [](const Image& i, double v, const Geometry&) {
  return sharpness(i, v);
};

const Operation kOperations[] = {
    {"AutoContrast", [](const Image& i, double, const Geometry&) { return auto_contrast(i); }},
    {"Equalize", [](const Image& i, double, const Geometry&) { return equalize(i); }},
    {"Invert", [](const Image& i, double, const Geometry&) { return invert(i); }},
    {"Rotate",
     [](const Image& i, double v, const Geometry& g) { return rotate(i, v, g.filter, g.fill); }},
    {"Posterize", posterize_bits},
    {"PosterizeIncreasing", posterize_bits},
    {"PosterizeOriginal", posterize_bits},
    {"Solarize", solarize_above},
    {"SolarizeIncreasing", solarize_above},
    {"SolarizeAdd", [](const Image& i, double v,
                       const Geometry&) { return solarize_add(i, static_cast<int>(v)); }},
    {"Color", colour_by},
    {"ColorIncreasing", colour_by},
    {"Contrast", contrast_by},
    {"ContrastIncreasing", contrast_by},
    {"Brightness", brightness_by},
    {"BrightnessIncreasing", brightness_by},
    {"Sharpness", sharpness_by},
    {"SharpnessIncreasing", sharpness_by},
    {"ShearX",
     [](const Image& i, double v, const Geometry& g) {
       return affine(i, {1, v, 0, 0, 1, 0}, g.filter, g.fill);
     }},
    {"ShearY",
     [](const Image& i, double v, const Geometry& g) {
       return affine(i, {1, 0, 0, v, 1, 0}, g.filter, g.fill);
     }},
    {"TranslateXRel",
     [](const Image& i, double v, const Geometry& g) { return move(i, v * i.width, 0, g); }},
    {"TranslateYRel",
     [](const Image& i, double v, const Geometry& g) { return move(i, 0, v * i.height, g); }},
    {"GaussianBlur", [](const Image& i, double v, const Geometry&) { return gaussian_blur(i, v); }},
    {"Grayscale", [](const Image& i, double, const Geometry&) { return greyscale(i); }},
    {"Hue", [](const Image& i, double v, const Geometry&) { return hue(i, v); }},
};

}  // namespace

Image apply_operation(const Image& source, std::string_view name, double value,
                      const Geometry& geometry) {
  for (const Operation& operation : kOperations) {
    if (name == operation.name) return operation.apply(source, value, geometry);
  }
  throw std::invalid_argument("no operation named '" + std::string(name) + "'");
}

std::vector<std::string> operation_names() {
  std::vector<std::string> names;
  for (const Operation& operation : kOperations) names.emplace_back(operation.name);
  return names;
}

}  // namespace lockstep::pixels
