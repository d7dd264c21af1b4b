// A part of a JPEG is that part of the whole, bit for bit, and as sound or damaged as the whole.
#include <gtest/gtest.h>

#include <cstdio>  // jpeglib.h wants FILE

#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdlib>
#include <string>
#include <vector>

#include "jobs/pixels/decode.h"
#include "jobs/pixels/encode.h"
#include "jobs/pixels/resample.h"
#include "jobs/random.h"

namespace lockstep::pixels {
namespace {

struct Coding {
  J_COLOR_SPACE colours = JCS_YCbCr;
  int horizontal = 1, vertical = 1;  // of the luminance; the rest is coded once in as many pixels
  bool progressive = false;
  unsigned restart_rows = 0;
};

// Waves and grain, the same in every call.
std::vector<uint8_t> values(int width, int height, int channels) {
  jobs::Random random(3, jobs::Purpose::pictures, static_cast<uint64_t>(width),
                      static_cast<uint64_t>(height));
  std::vector<uint8_t> all;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        const double wave = 90 * std::sin(0.17 * (c + 1) * x) + 25 * std::cos(0.23 * y);
        all.push_back(static_cast<uint8_t>(128 + wave + random.uniform(-12.0, 12.0)));
      }
    }
  }
  return all;
}

std::vector<std::byte> encode(int width, int height, const Coding& coding) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* memory = nullptr;
  unsigned long size = 0;  // NOLINT: libjpeg's own type
  jpeg_mem_dest(&jpeg, &memory, &size);
  const bool four = coding.colours == JCS_CMYK || coding.colours == JCS_YCCK;
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = four ? 4 : 3;
  jpeg.in_color_space = four ? JCS_CMYK : JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_set_colorspace(&jpeg, coding.colours);
  jpeg_set_quality(&jpeg, 80, TRUE);
  jpeg.comp_info[0].h_samp_factor = coding.horizontal;
  jpeg.comp_info[0].v_samp_factor = coding.vertical;
  for (int c = 1; c < jpeg.num_components; ++c) {
    jpeg.comp_info[c].h_samp_factor = 1;
    jpeg.comp_info[c].v_samp_factor = 1;
  }
  jpeg.restart_in_rows = static_cast<int>(coding.restart_rows);
  if (coding.progressive) jpeg_simple_progression(&jpeg);
  std::vector<uint8_t> pixels = values(width, height, jpeg.input_components);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW row = &pixels[static_cast<size_t>(jpeg.next_scanline) * static_cast<size_t>(width) *
                           static_cast<size_t>(jpeg.input_components)];
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  const auto* bytes = reinterpret_cast<const std::byte*>(memory);
  std::vector<std::byte> file(bytes, bytes + size);
  std::free(memory);
  return file;
}

constexpr Size kSizes[] = {{1, 1}, {17, 9}, {33, 50}, {97, 61}, {128, 96}, {203, 187}};

std::vector<Coding> codings() {
  std::vector<Coding> all;
  for (const auto& [horizontal, vertical] :
       {std::pair(1, 1), {2, 1}, {1, 2}, {2, 2}, {4, 1}, {1, 4}, {4, 2}}) {
    for (const unsigned restart_rows : {0u, 1u}) {
      all.push_back({JCS_YCbCr, horizontal, vertical, false, restart_rows});
    }
    all.push_back({JCS_YCbCr, horizontal, vertical, /*progressive=*/true});
  }
  for (const J_COLOR_SPACE colours : {JCS_RGB, JCS_GRAYSCALE, JCS_CMYK, JCS_YCCK}) {
    all.push_back({colours});
  }
  return all;
}

Box random_box(Size size, jobs::Random& random) {
  const int left = static_cast<int>(random.integer(0, size.width));
  const int top = static_cast<int>(random.integer(0, size.height));
  return {left, top, 1 + static_cast<int>(random.integer(0, size.width - left)),
          1 + static_cast<int>(random.integer(0, size.height - top))};
}

std::string name_of(const Coding& coding, Size size, const Box& box) {
  return std::to_string(coding.colours) + " " + std::to_string(coding.horizontal) + "x" +
         std::to_string(coding.vertical) + (coding.progressive ? " progressive " : " ") +
         std::to_string(size.width) + "x" + std::to_string(size.height) + ": " +
         std::to_string(box.width) + "x" + std::to_string(box.height) + " at " +
         std::to_string(box.left) + ", " + std::to_string(box.top);
}

TEST(DecodeCrop, IsTheWholesPart) {
  jobs::Random random(1, jobs::Purpose::pictures, 0, 0);
  for (const Coding& coding : codings()) {
    for (const Size size : kSizes) {
      const std::vector<std::byte> file = encode(size.width, size.height, coding);
      const Image whole = decode(file);
      EXPECT_EQ(size_of(file).width, size.width);
      EXPECT_EQ(size_of(file).height, size.height);
      for (int i = 0; i < 40; ++i) {
        const Box box = random_box(size, random);
        ASSERT_EQ(decode_crop(file, box).rgb, crop(whole, box).rgb) << name_of(coding, size, box);
      }
    }
  }
}

bool sound(const std::vector<std::byte>& file, const Box& box) {
  try {
    decode_crop(file, box);
    return true;
  } catch (const ImageError&) {
    return false;
  }
}

// Also where the crop lies above the cut.
TEST(DecodeCrop, IsRefusedWhereTheWholeIs) {
  for (const bool progressive : {false, true}) {
    const std::vector<std::byte> file = encode(97, 61, {JCS_YCbCr, 2, 2, progressive});
    for (size_t lost = 0; lost < file.size(); lost += lost < 40 ? 1 : 97) {
      const std::vector<std::byte> cut(file.begin(), file.end() - static_cast<ptrdiff_t>(lost));
      const bool whole = sound(cut, {0, 0, 97, 61});
      EXPECT_EQ(whole, lost == 0) << lost;
      for (const Box& box : {Box{0, 0, 30, 1}, {5, 20, 40, 20}, {80, 60, 17, 1}}) {
        EXPECT_EQ(sound(cut, box), whole) << lost << " bytes lost, row " << box.top;
      }
    }
  }
}

// What is wrong within, Pillow lives with: the pixels are still those of the whole.
TEST(DecodeCrop, OfDamagedPixelsIsTheWholesPart) {
  jobs::Random random(2, jobs::Purpose::pictures, 0, 0);
  const Size size{203, 187};
  const std::vector<std::byte> file = encode(size.width, size.height, {JCS_YCbCr, 2, 2});
  for (int i = 0; i < 300; ++i) {
    std::vector<std::byte> damaged = file;
    const auto place = static_cast<size_t>(
        random.integer(700, static_cast<int64_t>(file.size()) - 2));  // after the tables
    damaged[place] ^= static_cast<std::byte>(random.integer(1, 256));
    const Box box = random_box(size, random);
    Image whole;
    try {
      whole = decode(damaged);
    } catch (const ImageError&) {
      EXPECT_FALSE(sound(damaged, box)) << place;
      continue;
    }
    ASSERT_EQ(decode_crop(damaged, box).rgb, crop(whole, box).rgb) << place;
  }
}

struct LibjpegErrors : jpeg_error_mgr {
  std::jmp_buf back;
  bool cut = false;
};

bool read_by_libjpeg(jpeg_decompress_struct& jpeg, LibjpegErrors& errors,
                     const std::vector<std::byte>& file, std::vector<uint8_t>& rgb) {
  if (setjmp(errors.back)) return false;
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(file.data()), file.size());
  jpeg_read_header(&jpeg, TRUE);
  jpeg_start_decompress(&jpeg);
  const size_t row_bytes = size_t{3} * jpeg.output_width;
  rgb.resize(row_bytes * jpeg.output_height);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = &rgb[row_bytes * jpeg.output_scanline];
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);  // where an unknown marker comes to light
  return !errors.cut;
}

// Empty where libjpeg finds an error, or an end too soon.
std::vector<uint8_t> by_libjpeg(const std::vector<std::byte>& file) {
  jpeg_decompress_struct jpeg{};
  LibjpegErrors errors;
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = [](j_common_ptr info) {
    std::longjmp(static_cast<LibjpegErrors*>(info->err)->back, 1);
  };
  errors.emit_message = [](j_common_ptr info, int level) {
    if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) {
      static_cast<LibjpegErrors*>(info->err)->cut = true;
    }
  };
  std::vector<uint8_t> rgb;
  const bool sound = read_by_libjpeg(jpeg, errors, file, rgb);
  jpeg_destroy_decompress(&jpeg);
  return sound ? rgb : std::vector<uint8_t>();
}

std::vector<uint8_t> by_us(const std::vector<std::byte>& file) {
  try {
    const Image image = decode(file);
    return {image.rgb.begin(), image.rgb.end()};
  } catch (const ImageError&) {
    return {};
  }
}

// Sound, or damaged where the pixels are: our Huffman codes are those of libjpeg.
TEST(Decode, IsWhatLibjpegMakesOfIt) {
  jobs::Random random(5, jobs::Purpose::pictures, 0, 0);
  for (const auto& [horizontal, vertical] : {std::pair(1, 1), {2, 1}, {2, 2}, {4, 1}}) {
    for (const Size size : kSizes) {
      const std::vector<std::byte> file =
          encode(size.width, size.height, {JCS_YCbCr, horizontal, vertical});
      ASSERT_EQ(by_us(file), by_libjpeg(file));
      const auto bytes = static_cast<int64_t>(file.size());
      for (int i = 0; i < 60; ++i) {
        std::vector<std::byte> damaged = file;
        for (int64_t flips = random.integer(1, 4); flips > 0; --flips) {
          const int64_t place = random.integer(std::min<int64_t>(600, bytes / 2), bytes);
          const bool marker = random.chance(0.3);
          damaged[static_cast<size_t>(place)] = marker ? std::byte{0xFF} : std::byte(random.bits());
        }
        ASSERT_EQ(by_us(damaged), by_libjpeg(damaged)) << size.width << ", " << i;
      }
    }
  }
}

// The sanitizers of a debugging build see what is read beside.
TEST(Decode, AnyBytesAreReadOrRefused) {
  jobs::Random random(4, jobs::Purpose::pictures, 0, 0);
  const Image picture = decode(encode(97, 61, {}));
  const std::vector<std::byte> sound_files[] = {
      encode(97, 61, {JCS_YCbCr, 2, 2}), encode(97, 61, {JCS_YCbCr, 2, 1, /*progressive=*/true}),
      encode(50, 31, {JCS_YCCK}), encode_png(picture)};
  for (int round = 0; round < 4000; ++round) {
    std::vector<std::byte> file = sound_files[round % 4];
    for (int64_t flips = random.integer(1, 5); flips > 0; --flips) {
      // Mostly where the headers are.
      const auto size = static_cast<int64_t>(file.size());
      const int64_t reach = random.chance(0.7) ? std::min<int64_t>(700, size) : size;
      file[static_cast<size_t>(random.integer(0, reach))] = static_cast<std::byte>(random.bits());
    }
    if (random.chance(0.2)) {
      file.resize(static_cast<size_t>(random.integer(0, static_cast<int64_t>(file.size()))));
    }
    try {
      const auto [width, height] = size_of(file);
      if (int64_t{width} * height > 1 << 20) continue;  // sound, and slow to go through
      const Box box = random_box({width, height}, random);
      const Image part = decode_crop(file, box);
      EXPECT_EQ(part.rgb.size(), static_cast<size_t>(3 * box.width * box.height));
    } catch (const ImageError&) {
    }
  }
}

}  // namespace
}  // namespace lockstep::pixels
