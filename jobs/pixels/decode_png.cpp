#include "jobs/pixels/decode_png.h"

#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "jobs/pixels/decode_limits.h"

namespace lockstep::pixels {
namespace {

// What libpng's callbacks share with us.
struct Source {
  std::span<const std::byte> rest;
  bool in_pixels = false;
  bool cut = false;       // more was asked for than is there
  bool all_rows = false;  // have come out of the compressed stream
  char message[200] = {};
};

void on_error(png_structp png, png_const_charp message) {
  auto* source = static_cast<Source*>(png_get_error_ptr(png));
  std::snprintf(source->message, sizeof(source->message), "%s", message);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep target, size_t count) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (count > source->rest.size()) {
    // Pillow never reads the checksum that follows the pixels.
    constexpr size_t kChecksum = 4;
    source->cut = true;
    if (!source->in_pixels || count != kChecksum) png_error(png, "the file is cut short");
    source->rest = {};
    std::memset(target, 0, count);
    return;
  }
  std::memcpy(target, source->rest.data(), count);
  source->rest = source->rest.subspan(count);
}

// Called for each row as it comes, before the next bytes are asked for.
void note_row(png_structp png, png_row_infop, png_bytep) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  const auto* height = static_cast<const png_uint_32*>(png_get_user_transform_ptr(png));
  source->all_rows = png_get_current_row_number(png) + 1 == *height;
}

struct Header {
  png_uint_32 height = 0;
  bool wide_grey = false;  // 16 bits
  bool interlaced = false;
};

bool read_header(png_structp png, png_infop info, Source& source, Header& header) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_read_fn(png, &source, read_bytes);
  png_read_info(png, info);
  const int type = png_get_color_type(png, info);
  header.height = png_get_image_height(png, info);
  header.wide_grey = type == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) == 16;
  header.interlaced = png_get_interlace_type(png, info) != PNG_INTERLACE_NONE;
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (type == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
  if (!header.wide_grey) {
    png_set_strip_16(png);
    if (!(type & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png);
  }
  png_set_strip_alpha(png);
  if (!header.interlaced) {
    png_set_read_user_transform_fn(png, note_row);
    png_set_user_transform_info(png, &header.height, 0, 0);
  }
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

// The part of a row that the box wants. Pillow clips 16-bit grey to the range of a byte.
void keep(const Header& header, const uint8_t* row, int left, int width, uint8_t* rgb) {
  if (!header.wide_grey) {
    std::memcpy(rgb, row + size_t{3} * left, size_t{3} * width);
    return;
  }
  for (const uint8_t* wide = row + size_t{2} * left; width > 0; --width, wide += 2, rgb += 3) {
    std::fill_n(rgb, 3, wide[0] != 0 ? uint8_t{255} : wide[1]);
  }
}

// Each row into the same memory. The last may be there although what follows it is not.
bool read_rows(png_structp png, Source& source, const Header& header, uint8_t* row, const Box& box,
               Image& image) {
  if (setjmp(png_jmpbuf(png))) {
    if (!source.all_rows) return false;
    if (box.top + box.height == static_cast<int>(header.height)) {
      keep(header, row, box.left, box.width, image.row(box.height - 1));
    }
    return true;
  }
  source.in_pixels = true;
  png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  for (int y = 0; y < static_cast<int>(header.height); ++y) {
    png_read_row(png, row, nullptr);
    if (y >= box.top && y < box.top + box.height) {
      keep(header, row, box.left, box.width, image.row(y - box.top));
    }
  }
  return true;
}

bool read_interlaced(png_structp png, Source& source, uint8_t** rows) {
  if (setjmp(png_jmpbuf(png))) return false;
  source.in_pixels = true;
  png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  png_read_image(png, rows);
  return true;
}

// libpng's two structures, and what was found in the header.
class Png {
 public:
  explicit Png(Source& source)
      : source_(source),
        png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, on_error, on_warning)),
        info_(png_create_info_struct(png_)) {}
  ~Png() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;

  // `bytewise`: nothing is asked for that the next row does not need.
  Part decode(const Box& box, bool bytewise) {
    if (!read_header(png_, info_, source_, header_)) throw ImageError(source_.message);
    refuse_bomb(png_get_image_width(png_, info_), header_.height);
    if (bytewise) png_set_compression_buffer_size(png_, 1);
    if (header_.interlaced) return decode_interlaced();
    Image image(box.width, box.height);
    std::vector<uint8_t> row(png_get_rowbytes(png_, info_));
    if (!read_rows(png_, source_, header_, row.data(), box, image)) {
      throw ImageError(source_.message);
    }
    return {std::move(image), box, 1};
  }

 private:
  Part decode_interlaced() {
    const auto width = static_cast<int>(png_get_image_width(png_, info_));
    const auto height = static_cast<int>(header_.height);
    const size_t row_bytes = png_get_rowbytes(png_, info_);
    std::vector<uint8_t> values(row_bytes * header_.height);
    std::vector<uint8_t*> rows;
    for (int y = 0; y < height; ++y) rows.push_back(values.data() + row_bytes * y);
    if (!read_interlaced(png_, source_, rows.data())) throw ImageError(source_.message);
    Image image(width, height);
    for (int y = 0; y < height; ++y) keep(header_, rows[y], 0, width, image.row(y));
    return {std::move(image), {0, 0, width, height}, 1};
  }

  Source& source_;
  png_structp png_;
  png_infop info_;
  Header header_;
};

}  // namespace

// A PNG begins with its signature and the chunk IHDR: length, type, width, height.
Size png_size(std::span<const std::byte> file) {
  constexpr size_t kWidth = 16, kEnd = 24;
  if (file.size() < kEnd) throw ImageError("the file is cut short");
  const auto number_at = [&file](size_t offset) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint32_t>(file[offset + i]);
    return value;
  };
  const uint32_t width = number_at(kWidth), height = number_at(kWidth + 4);
  refuse_bomb(width, height);
  return {static_cast<int>(width), static_cast<int>(height)};
}

// libpng reads ahead: where the file is cut, a second look asks for no more than it needs.
Part decode_png_around(std::span<const std::byte> file, const Box& box) {
  Source source{.rest = file};
  try {
    return Png(source).decode(box, /*bytewise=*/false);
  } catch (const ImageError&) {
    if (!source.cut || !source.in_pixels) throw;
  }
  source = {.rest = file};
  return Png(source).decode(box, /*bytewise=*/true);
}

}  // namespace lockstep::pixels
