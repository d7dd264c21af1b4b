// A PNG costs the memory of its crop, however many pixels it has.
#include <gtest/gtest.h>
#include <png.h>
#include <sys/resource.h>

#include <vector>

#include "jobs/pixels/decode.h"

namespace lockstep::pixels {
namespace {

constexpr int kSide = 13000;  // 507 MB of colours

void append(png_structp png, png_bytep bytes, size_t count) {
  auto* file = static_cast<std::vector<std::byte>*>(png_get_io_ptr(png));
  const auto* first = reinterpret_cast<const std::byte*>(bytes);
  file->insert(file->end(), first, first + count);
}

// Black, and white on the diagonal: a bit a pixel.
std::vector<std::byte> encode_large_png() {
  std::vector<std::byte> file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(png, &file, append, nullptr);
  png_set_compression_level(png, 1);
  png_set_IHDR(png, info, kSide, kSide, 1, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (int y = 0; y < kSide; ++y) {
    std::vector<png_byte> row((kSide + 7) / 8);
    row[static_cast<size_t>(y / 8)] = static_cast<png_byte>(0x80 >> y % 8);
    png_write_row(png, row.data());
  }
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return file;
}

int64_t most_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{1024} * usage.ru_maxrss;
}

TEST(DecodePng, TakesNoMoreMemoryThanTheCrop) {
  const std::vector<std::byte> file = encode_large_png();
  ASSERT_LT(file.size(), size_t{1} << 20);
  const int64_t before = most_resident_bytes();
  for (const int corner : {0, 6000, kSide - 200}) {
    const Image image = decode_crop(file, {corner, corner, 200, 200});
    for (int y = 0; y < 200; ++y) {
      for (int x = 0; x < 200; ++x) ASSERT_EQ(*image.at(x, y), x == y ? 255 : 0);
    }
  }
  EXPECT_LT(most_resident_bytes() - before, int64_t{16} << 20);
}

}  // namespace
}  // namespace lockstep::pixels
