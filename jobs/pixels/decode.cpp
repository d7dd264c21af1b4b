#include "jobs/pixels/decode.h"

#include <cstdio>  // jpeglib.h wants FILE

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <csetjmp>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "jobs/pixels/huffman.h"
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
  bool gave_up = false;  // our own decoder of Huffman codes
};

void give_up(j_decompress_ptr jpeg) {
  auto* errors = static_cast<JpegErrors*>(jpeg->err);
  errors->gave_up = true;
  std::longjmp(errors->back, 1);
}

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
Box window_around(const Box& box, const jpeg_decompress_struct& jpeg) {
  const int left = std::max(0, box.left - kMargin), top = std::max(0, box.top - kMargin);
  const int right = std::min(static_cast<int>(jpeg.output_width), box.left + box.width + kMargin);
  return {left, top, right - left, box.top + box.height - top};
}

// The window may come out wider: whole blocks.
bool start_jpeg(jpeg_decompress_struct& jpeg, JpegErrors& errors, HuffmanDecoder* huffman,
                Box& window) {
  if (setjmp(errors.back)) return false;
  jpeg_start_decompress(&jpeg);
  if (huffman != nullptr) huffman->take_over(&jpeg, give_up);
  if (window.width == static_cast<int>(jpeg.output_width)) return true;
  auto left = static_cast<JDIMENSION>(window.left), width = static_cast<JDIMENSION>(window.width);
  jpeg_crop_scanline(&jpeg, &left, &width);
  window.left = static_cast<int>(left);
  window.width = static_cast<int>(width);
  return true;
}

// `cmyk` has room for a row of four channels, where there are so many.
bool read_jpeg_rows(jpeg_decompress_struct& jpeg, JpegErrors& errors, int first_row, uint8_t* cmyk,
                    Image& image) {
  if (setjmp(errors.back)) return false;
  if (first_row > 0) jpeg_skip_scanlines(&jpeg, static_cast<JDIMENSION>(first_row));
  for (int y = 0; y < image.height; ++y) {
    JSAMPROW target = cmyk != nullptr ? cmyk : image.row(y);
    jpeg_read_scanlines(&jpeg, &target, 1);
    if (cmyk != nullptr) cmyk_to_rgb(cmyk, image.width, image.row(y));
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

  // What follows is not to the bit.
  void hurry(int times) {
    jpeg_.scale_num = 1;
    jpeg_.scale_denom = static_cast<unsigned>(times);
    jpeg_.do_fancy_upsampling = FALSE;
    jpeg_.dct_method = JDCT_IFAST;
  }

  // Parts of a file with several scans are not always those of the whole: libjpeg smooths what
  // the last scans leave coarse.
  bool can_crop() { return !jpeg_has_multiple_scans(&jpeg_) && jpeg_.out_color_space == JCS_RGB; }

  enum class Huffman { ours, libjpeg };
  // Empty where libjpeg has to decide, or where pixels below the box may be cut off. Once.
  std::optional<Part> decode(const Box& box, Huffman codes) {
    jpeg_calc_output_dimensions(&jpeg_);
    const auto width = static_cast<int>(jpeg_.output_width);
    Box window = can_crop() ? window_around(box, jpeg_) : Box{0, 0, width, box.top + box.height};
    const bool ours = codes == Huffman::ours && !jpeg_has_multiple_scans(&jpeg_);
    const auto huffman = ours ? std::make_unique_for_overwrite<HuffmanDecoder>() : nullptr;
    if (!start_jpeg(jpeg_, errors_, huffman.get(), window)) throw ImageError(errors_.message);
    Image image(window.width, window.height);
    std::vector<uint8_t> cmyk(jpeg_.out_color_space == JCS_CMYK ? size_t{4} * width : 0);
    if (!read_jpeg_rows(jpeg_, errors_, window.top, cmyk.empty() ? nullptr : cmyk.data(), image)) {
      if (errors_.gave_up) return std::nullopt;
      throw ImageError(errors_.message);
    }
    if (errors_.truncated) throw ImageError("the file is cut short");
    if (jpeg_.client_data != nullptr) huffman->hand_back(&jpeg_);
    if (jpeg_.output_scanline < jpeg_.output_height && !has_end(*jpeg_.src)) return std::nullopt;
    return Part{std::move(image), window, 1};
  }

 private:
  jpeg_decompress_struct jpeg_{};
  JpegErrors errors_;
  Size size_;
};

Image decode_jpeg(std::span<const std::byte> file) {
  for (const Jpeg::Huffman codes : {Jpeg::Huffman::ours, Jpeg::Huffman::libjpeg}) {
    Jpeg jpeg(file);
    auto part = jpeg.decode({0, 0, jpeg.size().width, jpeg.size().height}, codes);
    if (part) return std::move(part->image);
  }
  throw ImageError("the file is cut short");
}

Part whole(Image image) {
  const Box box{0, 0, image.width, image.height};
  return {std::move(image), box, 1};
}

Part decode_jpeg_around(std::span<const std::byte> file, const Box& box) {
  std::optional<Part> part = Jpeg(file).decode(box, Jpeg::Huffman::ours);
  return part ? std::move(*part) : whole(decode_jpeg(file));
}

Part decode_jpeg_around_fast(std::span<const std::byte> file, const Box& box, int times) {
  Jpeg jpeg(file);
  jpeg.hurry(times);
  const int right = (box.left + box.width + times - 1) / times;
  const int bottom = (box.top + box.height + times - 1) / times;
  const int left = box.left / times, top = box.top / times;
  std::optional<Part> part =
      jpeg.decode({left, top, right - left, bottom - top}, Jpeg::Huffman::ours);
  if (!part) return whole(decode_jpeg(file));  // which says what is missing
  for (int* length : {&part->box.left, &part->box.top, &part->box.width, &part->box.height}) {
    *length *= times;
  }
  part->times = times;
  return std::move(*part);
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

enum class Format { jpeg, png, ppm };

Format format_of(std::span<const std::byte> file) {
  if (file.empty()) throw ImageError("the file is empty");
  if (starts_with(file, {0xFF, 0xD8, 0xFF})) return Format::jpeg;
  if (starts_with(file, {0x89, 'P', 'N', 'G', 0x0D, 0x0A, 0x1A, 0x0A})) return Format::png;
  if (starts_with(file, {'P', '6', '\n'})) return Format::ppm;
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

// --- PPM, as encode_ppm() writes it: "P6", width and height, 255, each with one space after it.

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
  if (is_bomb(width, height)) refuse_bomb(width, height);
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

}  // namespace

Image decode(std::span<const std::byte> file) {
  switch (format_of(file)) {
    case Format::jpeg:
      return decode_jpeg(file);
    case Format::png:
      return decode_png(file);
    case Format::ppm:
      break;
  }
  const Size size = read_ppm(file).size;
  return decode_ppm_around(file, {0, 0, size.width, size.height}).image;
}

Size size_of(std::span<const std::byte> file) {
  switch (format_of(file)) {
    case Format::jpeg:
      return Jpeg(file).size();
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
      return whole(decode_png(file));
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
