#include "jobs/pixels/decode.h"

#include <cstdio>  // jpeglib.h wants FILE

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <cctype>
#include <csetjmp>
#include <cstring>
#include <string>

namespace lockstep::pixels {
namespace {

constexpr uint64_t kMostPixels = 178'956'970;  // Pillow's Image.MAX_IMAGE_PIXELS, twice

void refuse_bombs(uint64_t width, uint64_t height) {
  if (width == 0 || height == 0 || width > kMostPixels / height) {
    throw ImageError("its header claims " + std::to_string(width) + " x " + std::to_string(height) +
                     " pixels");
  }
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

bool read_jpeg_rows(jpeg_decompress_struct& jpeg, JpegErrors& errors, Image& image, uint8_t* cmyk) {
  if (setjmp(errors.back)) return false;
  jpeg_start_decompress(&jpeg);
  while (jpeg.output_scanline < jpeg.output_height) {
    uint8_t* row = image.row(static_cast<int>(jpeg.output_scanline));
    JSAMPROW target = jpeg.out_color_space == JCS_CMYK ? cmyk : row;
    jpeg_read_scanlines(&jpeg, &target, 1);
    if (jpeg.out_color_space == JCS_CMYK) cmyk_to_rgb(cmyk, image.width, row);
  }
  return true;
}

Image decode_jpeg(std::span<const std::byte> file) {
  jpeg_decompress_struct jpeg{};
  JpegErrors errors;
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = on_jpeg_error;
  errors.emit_message = on_jpeg_warning;
  const struct Release {
    jpeg_decompress_struct* jpeg;
    ~Release() { jpeg_destroy_decompress(jpeg); }
  } release{&jpeg};
  if (!read_jpeg_header(jpeg, errors, file)) throw ImageError(errors.message);
  refuse_bombs(jpeg.image_width, jpeg.image_height);
  Image image(static_cast<int>(jpeg.image_width), static_cast<int>(jpeg.image_height));
  std::vector<uint8_t> cmyk(jpeg.out_color_space == JCS_CMYK ? jpeg.image_width * size_t{4} : 0);
  if (!read_jpeg_rows(jpeg, errors, image, cmyk.data())) throw ImageError(errors.message);
  if (errors.truncated) throw ImageError("the file is cut short");
  return image;
}

// --- PNG

struct PngSource {
  std::span<const std::byte> rest;
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
  if (count > source->rest.size()) png_error(png, "the file is cut short");
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

bool read_png_rows(png_structp png, uint8_t** rows) {
  if (setjmp(png_jmpbuf(png))) return false;
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
  refuse_bombs(width, height);
  Image image(static_cast<int>(width), static_cast<int>(height));
  std::vector<uint8_t> wide(wide_grey ? 2 * width * height : 0);
  std::vector<uint8_t*> rows;
  for (uint64_t y = 0; y < height; ++y) {
    rows.push_back(wide_grey ? wide.data() + 2 * width * y : image.row(static_cast<int>(y)));
  }
  if (!read_png_rows(png, rows.data())) throw ImageError(source.message);
  if (wide_grey) clip_wide_grey(wide, image);
  return image;
}

bool starts_with(std::span<const std::byte> file, std::initializer_list<int> bytes) {
  return file.size() >= bytes.size() &&
         std::equal(bytes.begin(), bytes.end(), file.begin(),
                    [](int a, std::byte b) { return std::byte(a) == b; });
}

}  // namespace

Image decode(std::span<const std::byte> file) {
  if (file.empty()) throw ImageError("the file is empty");
  if (starts_with(file, {0xFF, 0xD8, 0xFF})) return decode_jpeg(file);
  if (starts_with(file, {0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A})) return decode_png(file);
  throw ImageError("it is neither a JPEG nor a PNG");
}

bool has_picture_name(const std::filesystem::path& file) {
  std::string extension = file.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

}  // namespace lockstep::pixels
