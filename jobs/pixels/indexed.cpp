#include "jobs/pixels/indexed.h"

#include <png.h>

#include <algorithm>
#include <array>
#include <new>

#include "jobs/pixels/decode_limits.h"

namespace lockstep::pixels {
namespace {

constexpr size_t kMostColours = 256;

using ColourMap = std::array<uint8_t, 3 * kMostColours>;

// Releases what libpng holds, in every case.
struct Png {
  png_image image{};
  Png() { image.version = PNG_IMAGE_VERSION; }
  ~Png() { png_image_free(&image); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;
};

// For each output the input under its centre. Pillow adds the steps up, and so do we.
std::vector<size_t> nearest_places(int inputs, int outputs) {
  const double step = static_cast<double>(inputs) / outputs;
  std::vector<size_t> places;
  double at = step * 0.5;
  for (int i = 0; i < outputs; ++i, at += step) {
    places.push_back(static_cast<size_t>(std::min(static_cast<int>(at), inputs - 1)));
  }
  return places;
}

}  // namespace

IndexedImage decode_indexed_png(std::span<const std::byte> file) {
  Png png;
  if (!png_image_begin_read_from_memory(&png.image, file.data(), file.size())) {
    throw ImageError(png.image.message);
  }
  if (!(png.image.format & PNG_FORMAT_FLAG_COLORMAP)) throw ImageError("it has no palette");
  refuse_bomb(png.image.width, png.image.height);
  png.image.format = PNG_FORMAT_RGB_COLORMAP;
  IndexedImage image{.width = static_cast<int>(png.image.width),
                     .height = static_cast<int>(png.image.height)};
  image.indices.resize(size_t{png.image.width} * png.image.height);
  ColourMap colours{};
  const png_color black{};
  if (!png_image_finish_read(&png.image, &black, image.indices.data(), 0, colours.data())) {
    throw ImageError(png.image.message);
  }
  for (size_t i = 0; i < png.image.colormap_entries; ++i) {
    image.palette.push_back({colours[3 * i], colours[3 * i + 1], colours[3 * i + 2]});
  }
  if (std::ranges::any_of(image.indices, [&](uint8_t i) { return i >= image.palette.size(); })) {
    throw ImageError("it has a pixel outside its palette");
  }
  return image;
}

std::vector<std::byte> encode_indexed_png(const IndexedImage& image) {
  Png png;
  png.image.width = static_cast<png_uint_32>(image.width);
  png.image.height = static_cast<png_uint_32>(image.height);
  png.image.format = PNG_FORMAT_RGB_COLORMAP;
  png.image.colormap_entries = static_cast<png_uint_32>(image.palette.size());
  ColourMap colours{};
  for (size_t i = 0; i < image.palette.size(); ++i) {
    std::ranges::copy(image.palette[i], colours.begin() + static_cast<std::ptrdiff_t>(3 * i));
  }
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png.image);
  std::vector<std::byte> file(size);
  if (!png_image_write_to_memory(&png.image, file.data(), &size, 0, image.indices.data(), 0,
                                 colours.data())) {
    throw std::bad_alloc();
  }
  file.resize(size);
  return file;
}

IndexedImage resize_nearest(const IndexedImage& source, int width, int height) {
  IndexedImage image{.width = width, .height = height, .palette = source.palette};
  const std::vector<size_t> columns = nearest_places(source.width, width);
  for (const size_t row : nearest_places(source.height, height)) {
    for (const size_t column : columns) {
      image.indices.push_back(source.indices[row * static_cast<size_t>(source.width) + column]);
    }
  }
  return image;
}

}  // namespace lockstep::pixels
