#include "jobs/pixels/decode.h"

#include <cstdio>  // jpeglib.h wants FILE

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <cctype>
#include <csetjmp>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "jobs/pixels/resample.h"

namespace lockstep::pixels {
namespace {

constexpr uint64_t kMostPixels = 178'956'970;  // Pillow's Image.MAX_IMAGE_PIXELS, twice

bool is_bomb(uint64_t width, uint64_t height) {
  return width == 0 || height == 0 || width > kMostPixels / height;
}

[[noreturn]] void refuse_bomb(uint64_t width, uint64_t height) {
  throw ImageError("its header claims " + std::to_string(width) + " x " + std::to_string(height) +
                   " pixels");
}

// --- JPEG. libjpeg reports by a callback that must not return; it jumps back into our frames.

struct JpegErrors : jpeg_error_mgr {
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX] = {};
  bool truncated = false;
};

void on_jpeg_error(j_common_ptr info) {
  auto* errors = static_cast<JpegErrors*>(info->err);
  errors->format_message(info, errors->message);
  std::longjmp(errors->back, 1);
}

// The one warning that costs pixels; all others Pillow lives with too.
void on_jpeg_warning(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) {
    static_cast<JpegErrors*>(info->err)->truncated = true;
  }
}

// Pillow's CMYK to RGB, from values that Adobe stores inverted.
void cmyk_to_rgb(const uint8_t* cmyk, int width, uint8_t* rgb) {
  for (int x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    const int white = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[c]) * white + 128;
      rgb[c] = static_cast<uint8_t>(std::clamp(white - (((product >> 8) + product) >> 8), 0, 255));
    }
  }
}

// Between start and end of a jump no object with a destructor is made here.
bool read_jpeg_header(jpeg_decompress_struct& jpeg, JpegErrors& errors,
                      std::span<const std::byte> file) {
  if (setjmp(errors.back)) return false;
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(file.data()), file.size());
  jpeg_read_header(&jpeg, TRUE);
  const bool cmyk = jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
  jpeg.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
  return true;
}

constexpr int kMargin = 16;  // pixels, more than any interpolation of colours reaches

// What is decoded of a JPEG: some more than the box, since the colours of a pixel take in those of
// its neighbours.
struct Window {
  JDIMENSION left, width;
  JDIMENSION skipped;  // rows above
};

Window window_around(const Box& box, const jpeg_decompress_struct& jpeg) {
  const int left = std::max(0, box.left - kMargin);
  const int right = std::min(static_cast<int>(jpeg.image_width), box.left + box.width + kMargin);
  return {.left = static_cast<JDIMENSION>(left),
          .width = static_cast<JDIMENSION>(right - left),
          .skipped = static_cast<JDIMENSION>(std::max(0, box.top - kMargin))};
}

// Each row goes through `row`, which has room for one of the whole picture.
bool read_jpeg_rows(jpeg_decompress_struct& jpeg, JpegErrors& errors, const Box& box,
                    Window& window, uint8_t* row, Image& image) {
  if (setjmp(errors.back)) return false;
  const int channels = jpeg.out_color_space == JCS_CMYK ? 4 : 3;
  jpeg_start_decompress(&jpeg);
  if (window.width < jpeg.output_width) jpeg_crop_scanline(&jpeg, &window.left, &window.width);
  if (window.skipped > 0) jpeg_skip_scanlines(&jpeg, window.skipped);
  const auto end = static_cast<JDIMENSION>(box.top + box.height);
  while (jpeg.output_scanline < end) {
    const int y = static_cast<int>(jpeg.output_scanline) - box.top;
    JSAMPROW target = row;
    jpeg_read_scanlines(&jpeg, &target, 1);
    if (y < 0) continue;
    const uint8_t* wanted = row + channels * (box.left - static_cast<int>(window.left));
    if (channels == 4) {
      cmyk_to_rgb(wanted, box.width, image.row(y));
    } else {
      std::memcpy(image.row(y), wanted, 3 * static_cast<size_t>(box.width));
    }
  }
  return true;
}

// Whether the marker that ends a JPEG stands in what was not read yet: then nothing was cut off.
// Within coded pixels its two bytes never follow each other.
bool has_end(const jpeg_source_mgr& source) {
  for (size_t count = source.bytes_in_buffer; count >= 2; --count) {
    const JOCTET* last = source.next_input_byte + count;
    if (last[-2] == 0xFF && last[-1] == JPEG_EOI) return true;
  }
  return false;
}

// A file whose header was read.
class Jpeg {
 public:
  explicit Jpeg(std::span<const std::byte> file) {
    jpeg_.err = jpeg_std_error(&errors_);
    errors_.error_exit = on_jpeg_error;
    errors_.emit_message = on_jpeg_warning;
    const bool sound = read_jpeg_header(jpeg_, errors_, file);
    size_ = {static_cast<int>(jpeg_.image_width), static_cast<int>(jpeg_.image_height)};
    if (sound && !is_bomb(jpeg_.image_width, jpeg_.image_height)) return;
    jpeg_destroy_decompress(&jpeg_);
    if (!sound) throw ImageError(errors_.message);
    refuse_bomb(jpeg_.image_width, jpeg_.image_height);
  }
  ~Jpeg() { jpeg_destroy_decompress(&jpeg_); }
  Jpeg(const Jpeg&) = delete;
  Jpeg& operator=(const Jpeg&) = delete;

  Size size() const { return size_; }
  // Parts of a file with several scans are not always those of the whole: libjpeg smooths what
  // the last scans leave coarse.
  bool can_crop() { return !jpeg_has_multiple_scans(&jpeg_) && jpeg_.out_color_space == JCS_RGB; }

  // Empty where pixels below the box may be cut off. Once.
  std::optional<Image> decode(const Box& box) {
    Image image(box.width, box.height);
    std::vector<uint8_t> row(size_t{4} * jpeg_.image_width);
    Window window = can_crop() ? window_around(box, jpeg_) : Window{0, jpeg_.image_width, 0};
    if (!read_jpeg_rows(jpeg_, errors_, box, window, row.data(), image)) {
      throw ImageError(errors_.message);
    }
    if (errors_.truncated) throw ImageError("the file is cut short");
    if (jpeg_.output_scanline < jpeg_.output_height && !has_end(*jpeg_.src)) return std::nullopt;
    return image;
  }

 private:
  jpeg_decompress_struct jpeg_{};
  JpegErrors errors_;
  Size size_;
};

Image decode_jpeg(std::span<const std::byte> file) {
  Jpeg jpeg(file);
  return *jpeg.decode({0, 0, jpeg.size().width, jpeg.size().height});
}

Image decode_jpeg_crop(std::span<const std::byte> file, const Box& box) {
  std::optional<Image> image = Jpeg(file).decode(box);
  return image ? std::move(*image) : crop(decode_jpeg(file), box);
}

// --- PNG

struct PngSource {
  std::span<const std::byte> rest;
  bool in_pixels = false;
  char message[200] = {};
};

void on_png_error(png_structp png, png_const_charp message) {
  auto* source = static_cast<PngSource*>(png_get_error_ptr(png));
  std::snprintf(source->message, sizeof(source->message), "%s", message);
  png_longjmp(png, 1);
}

void on_png_warning(png_structp, png_const_charp) {}

void read_png_bytes(png_structp png, png_bytep target, size_t count) {
  auto* source = static_cast<PngSource*>(png_get_io_ptr(png));
  if (count > source->rest.size()) {
    // Pillow never reads the checksum that follows the pixels.
    constexpr size_t kChecksum = 4;
    if (!source->in_pixels || count != kChecksum) png_error(png, "the file is cut short");
    source->rest = {};
    std::memset(target, 0, count);
    return;
  }
  std::memcpy(target, source->rest.data(), count);
  source->rest = source->rest.subspan(count);
}

bool read_png_header(png_structp png, png_infop info, PngSource& source, bool& wide_grey) {
  if (setjmp(png_jmpbuf(png))) return false;
  png_set_read_fn(png, &source, read_png_bytes);
  png_read_info(png, info);
  const int type = png_get_color_type(png, info);
  wide_grey = type == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) == 16;
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (type == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
  if (!wide_grey) {
    png_set_strip_16(png);
    if (!(type & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png);
  }
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

bool read_png_rows(png_structp png, PngSource& source, uint8_t** rows) {
  if (setjmp(png_jmpbuf(png))) return false;
  source.in_pixels = true;
  png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  png_read_image(png, rows);
  return true;
}

// Pillow clips 16-bit grey to the range of a byte.
void clip_wide_grey(const std::vector<uint8_t>& wide, Image& image) {
  for (size_t i = 0; i < image.rgb.size() / 3; ++i) {
    const uint8_t value = wide[2 * i] != 0 ? 255 : wide[2 * i + 1];
    std::fill_n(image.rgb.begin() + static_cast<std::ptrdiff_t>(3 * i), 3, value);
  }
}

Image decode_png(std::span<const std::byte> file) {
  PngSource source{.rest = file};
  png_structp png =
      png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, on_png_error, on_png_warning);
  png_infop info = png_create_info_struct(png);
  const struct Release {
    png_structp png;
    png_infop info;
    ~Release() { png_destroy_read_struct(&png, &info, nullptr); }
  } release{png, info};
  bool wide_grey = false;
  if (!read_png_header(png, info, source, wide_grey)) throw ImageError(source.message);
  const uint64_t width = png_get_image_width(png, info);
  const uint64_t height = png_get_image_height(png, info);
  if (is_bomb(width, height)) refuse_bomb(width, height);
  Image image(static_cast<int>(width), static_cast<int>(height));
  std::vector<uint8_t> wide(wide_grey ? 2 * width * height : 0);
  std::vector<uint8_t*> rows;
  for (uint64_t y = 0; y < height; ++y) {
    rows.push_back(wide_grey ? wide.data() + 2 * width * y : image.row(static_cast<int>(y)));
  }
  if (!read_png_rows(png, source, rows.data())) throw ImageError(source.message);
  if (wide_grey) clip_wide_grey(wide, image);
  return image;
}

bool starts_with(std::span<const std::byte> file, std::initializer_list<int> bytes) {
  return file.size() >= bytes.size() &&
         std::equal(bytes.begin(), bytes.end(), file.begin(),
                    [](int a, std::byte b) { return std::byte(a) == b; });
}

// Else it is a PNG.
bool is_jpeg(std::span<const std::byte> file) {
  if (file.empty()) throw ImageError("the file is empty");
  if (starts_with(file, {0xFF, 0xD8, 0xFF})) return true;
  if (starts_with(file, {0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A})) return false;
  throw ImageError("it is neither a JPEG nor a PNG");
}

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
  if (is_bomb(width, height)) refuse_bomb(width, height);
  return {static_cast<int>(width), static_cast<int>(height)};
}

}  // namespace

Image decode(std::span<const std::byte> file) {
  return is_jpeg(file) ? decode_jpeg(file) : decode_png(file);
}

Size size_of(std::span<const std::byte> file) {
  if (is_jpeg(file)) return Jpeg(file).size();
  return png_size(file);
}

Image decode_crop(std::span<const std::byte> file, const Box& box) {
  return is_jpeg(file) ? decode_jpeg_crop(file, box) : crop(decode_png(file), box);
}

bool has_picture_name(const std::filesystem::path& file) {
  std::string extension = file.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

}  // namespace lockstep::pixels
