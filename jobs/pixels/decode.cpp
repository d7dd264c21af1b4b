#include "jobs/pixels/decode.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstring>
#include <string>
#include <utility>

#include "jobs/pixels/decode_jpeg.h"
#include "jobs/pixels/decode_limits.h"
#include "jobs/pixels/decode_png.h"
#include "jobs/pixels/resample.h"

namespace lockstep::pixels {
namespace {

bool starts_with(std::span<const std::byte> file, std::initializer_list<int> bytes) {
  return file.size() >= bytes.size() &&
         std::equal(bytes.begin(), bytes.end(), file.begin(),
                    [](int a, std::byte b) { return std::byte(a) == b; });
}

enum class Format { jpeg, png, ppm };

Format format_of(std::span<const std::byte> file) {
  if (file.empty()) throw ImageError("the file is empty");
  if (starts_with(file, {0xFF, 0xD8, 0xFF})) return Format::jpeg;
  if (starts_with(file, {0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A})) return Format::png;
  if (starts_with(file, {'P', '6', '\n'})) return Format::ppm;
  throw ImageError("it is neither a JPEG nor a PNG");
}

// A PPM, as encode_ppm() writes it: "P6", width and height, 255, each with one space after it.

struct Ppm {
  Size size;
  const std::byte* pixels;
};

Ppm read_ppm(std::span<const std::byte> file) {
  const char* at = reinterpret_cast<const char*>(file.data()) + 3;
  const char* const end = reinterpret_cast<const char*>(file.data()) + file.size();
  uint32_t numbers[3] = {};
  for (uint32_t& number : numbers) {
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc() || next == end || (*next != ' ' && *next != '\n')) {
      throw ImageError("the header of a PPM is damaged");
    }
    at = next + 1;
  }
  const auto [width, height, most] = numbers;
  refuse_bomb(width, height);
  if (most != 255) throw ImageError("a PPM of other than 8 bits");
  if (uint64_t{3} * width * height > static_cast<uint64_t>(end - at)) {
    throw ImageError("the file is cut short");
  }
  return {{static_cast<int>(width), static_cast<int>(height)},
          reinterpret_cast<const std::byte*>(at)};
}

Part decode_ppm_around(std::span<const std::byte> file, const Box& box) {
  const Ppm ppm = read_ppm(file);
  Image image(box.width, box.height);
  for (int y = 0; y < box.height; ++y) {
    const ptrdiff_t first = ptrdiff_t{box.top + y} * ppm.size.width + box.left;
    std::memcpy(image.row(y), ppm.pixels + 3 * first, 3 * static_cast<size_t>(box.width));
  }
  return {std::move(image), box, 1};
}

Box whole_of(const Size& size) { return {0, 0, size.width, size.height}; }

}  // namespace

Image decode(std::span<const std::byte> file) {
  switch (format_of(file)) {
    case Format::jpeg:
      return decode_jpeg(file);
    case Format::png:
      return decode_png_around(file, whole_of(png_size(file))).image;
    case Format::ppm:
      break;
  }
  return decode_ppm_around(file, whole_of(read_ppm(file).size)).image;
}

Size size_of(std::span<const std::byte> file) {
  switch (format_of(file)) {
    case Format::jpeg:
      return jpeg_size(file);
    case Format::png:
      return png_size(file);
    case Format::ppm:
      break;
  }
  return read_ppm(file).size;
}

Box Part::place_of(const Box& of_picture) const {
  Box place{of_picture.left - box.left, of_picture.top - box.top, of_picture.width,
            of_picture.height};
  if (times == 1) return place;
  // Of `length` pixels that begin `from` pixels into a side.
  const auto reduce = [this](int limit, int& from, int& length) {
    length = std::clamp((length + times / 2) / times, 1, limit);
    from = std::min((from + times / 2) / times, limit - length);
  };
  reduce(image.width, place.left, place.width);
  reduce(image.height, place.top, place.height);
  return place;
}

Part decode_around(std::span<const std::byte> file, const Box& box) {
  switch (format_of(file)) {
    case Format::jpeg:
      return decode_jpeg_around(file, box);
    case Format::png:
      return decode_png_around(file, box);
    case Format::ppm:
      break;
  }
  return decode_ppm_around(file, box);
}

Part decode_around_fast(std::span<const std::byte> file, const Box& box, int times) {
  if (format_of(file) != Format::jpeg) return decode_around(file, box);
  return decode_jpeg_around_fast(file, box, times);
}

Image decode_crop(std::span<const std::byte> file, const Box& box) {
  const Part part = decode_around(file, box);
  return crop(part.image, part.place_of(box));
}

bool has_picture_name(const std::filesystem::path& file) {
  std::string extension = file.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

}  // namespace lockstep::pixels
