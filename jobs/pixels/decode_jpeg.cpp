#include "jobs/pixels/decode_jpeg.h"

#include <cstdio>  // jpeglib.h wants FILE

#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "comm/fast_paths.h"
#include "jobs/pixels/decode_limits.h"
#include "jobs/pixels/huffman.h"

namespace lockstep::pixels {
namespace {

// libjpeg reports by a callback that must not return; it jumps back into our frames.

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
  const bool all_by_libjpeg =
      jpeg.client_data == nullptr && jpeg.output_scanline == jpeg.output_height;
  if (all_by_libjpeg) jpeg_finish_decompress(&jpeg);  // where markers that are none come to light
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

// Whether the first marker after the coded pixels, which restarts may divide, is that of the end.
bool ends_as_it_should(const jpeg_source_mgr& source, bool restarts) {
  const JOCTET* at = source.next_input_byte;
  const JOCTET* const end = at + source.bytes_in_buffer;
  while (at < end) {
    at = static_cast<const JOCTET*>(std::memchr(at, 0xFF, static_cast<size_t>(end - at)));
    if (at == nullptr || ++at == end) return false;
    const bool restart = *at >= JPEG_RST0 && *at <= JPEG_RST0 + 7;
    if (*at == 0x00 || *at == 0xFF || (restarts && restart)) continue;
    return *at == JPEG_EOI;
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
    try {
      if (!sound) throw ImageError(errors_.message);
      refuse_bomb(jpeg_.image_width, jpeg_.image_height);
    } catch (const ImageError&) {
      jpeg_destroy_decompress(&jpeg_);
      throw;
    }
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
    const bool one_scan = !jpeg_has_multiple_scans(&jpeg_);
    if (one_scan && codes == Huffman::ours &&
        !ends_as_it_should(*jpeg_.src, jpeg_.restart_interval != 0)) {
      return std::nullopt;  // libjpeg knows whether the rest is an error
    }
    static const bool fast = takes_fast_path("pixels");
    const bool ours = fast && codes == Huffman::ours && one_scan;
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

Part whole(Image image) {
  const Box box{0, 0, image.width, image.height};
  return {std::move(image), box, 1};
}

}  // namespace

Size jpeg_size(std::span<const std::byte> file) { return Jpeg(file).size(); }

Image decode_jpeg(std::span<const std::byte> file) {
  for (const Jpeg::Huffman codes : {Jpeg::Huffman::ours, Jpeg::Huffman::libjpeg}) {
    Jpeg jpeg(file);
    auto part = jpeg.decode({0, 0, jpeg.size().width, jpeg.size().height}, codes);
    if (part) return std::move(part->image);
  }
  throw ImageError("the file is cut short");
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

}  // namespace lockstep::pixels
