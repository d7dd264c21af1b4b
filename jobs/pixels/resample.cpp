#include "jobs/pixels/resample.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>

#include "jobs/pixels/clones.h"

namespace lockstep::pixels {
namespace {

constexpr int kPrecisionBits = 22;
constexpr int kRounding = 1 << (kPrecisionBits - 1);

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double support_of(Filter filter) {
  return filter == Filter::bilinear ? 1.0 : filter == Filter::bicubic ? 2.0 : 3.0;
}

double weight(Filter filter, double x) {
  if (filter == Filter::lanczos) return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
  x = std::abs(x);
  if (filter == Filter::bilinear) return x < 1.0 ? 1.0 - x : 0.0;
  constexpr double a = -0.5;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// For each output position the inputs that it sees, and their weights in fixed point.
struct Taps {
  int most = 0;  // weights an output has room for
  std::vector<int> first, count;
  std::vector<int32_t> weights;  // [output][most]
};

// The outputs share the first `extent` of the inputs among them.
Taps plan_taps(int inputs, float extent, int outputs, Filter filter) {
  const double scale = static_cast<double>(extent) / outputs;
  const double filter_scale = std::max(scale, 1.0);
  const double support = support_of(filter) * filter_scale;
  Taps taps;
  taps.most = static_cast<int>(std::ceil(support)) * 2 + 1;
  taps.weights.assign(static_cast<size_t>(taps.most) * static_cast<size_t>(outputs), 0);
  std::vector<double> exact(static_cast<size_t>(taps.most));
  for (int output = 0; output < outputs; ++output) {
    const double centre = (output + 0.5) * scale;
    const int begin = std::max(0, static_cast<int>(centre - support + 0.5));
    const int end = std::min(inputs, static_cast<int>(centre + support + 0.5));
    double sum = 0.0;
    for (int i = 0; i < end - begin; ++i) {
      exact[static_cast<size_t>(i)] =
          weight(filter, (i + begin - centre + 0.5) * (1.0 / filter_scale));
      sum += exact[static_cast<size_t>(i)];
    }
    int32_t* fixed = &taps.weights[static_cast<size_t>(output) * static_cast<size_t>(taps.most)];
    for (int i = 0; i < end - begin; ++i) {
      double value = exact[static_cast<size_t>(i)];
      if (sum != 0.0) value /= sum;
      fixed[i] = static_cast<int32_t>((value < 0 ? -0.5 : 0.5) + value * (1 << kPrecisionBits));
    }
    taps.first.push_back(begin);
    taps.count.push_back(end - begin);
  }
  return taps;
}

uint8_t to_byte(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

// Rows are taken sixteen at a time and turned, so that the lanes of a vector are rows and channels.
constexpr int kRows = 16;
constexpr int kLanes = 3 * kRows;

LOCKSTEP_CLONES void resize_rows(const uint8_t* turned, const Taps& taps, int outputs,
                                 uint8_t* result) {
  for (int x = 0; x < outputs; ++x) {
    int32_t sums[kLanes];
    std::fill_n(sums, kLanes, kRounding);
    const uint8_t* source =
        turned + static_cast<ptrdiff_t>(taps.first[static_cast<size_t>(x)]) * kLanes;
    const int32_t* weights = &taps.weights[static_cast<size_t>(x) * static_cast<size_t>(taps.most)];
    for (int t = 0; t < taps.count[static_cast<size_t>(x)]; ++t) {
      for (int lane = 0; lane < kLanes; ++lane)
        sums[lane] += source[t * kLanes + lane] * weights[t];
    }
    for (int lane = 0; lane < kLanes; ++lane) result[x * kLanes + lane] = to_byte(sums[lane]);
  }
}

void turn_in(const Image& source, const Box& box, int first_row, int rows, uint8_t* turned) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* row = source.at(box.left, box.top + first_row + r);
    for (int i = 0; i < 3 * box.width; ++i) turned[i * kRows + r] = row[i];
  }
}

void turn_out(const uint8_t* turned, int first_row, int rows, Image& image) {
  for (int r = 0; r < rows; ++r) {
    uint8_t* row = image.row(first_row + r);
    for (int i = 0; i < 3 * image.width; ++i) row[i] = turned[i * kRows + r];
  }
}

Image resize_horizontally(const Image& source, const Box& box, float extent, int width,
                          Filter filter) {
  const Taps taps = plan_taps(box.width, extent, width, filter);
  Image image(width, box.height);
  std::vector<uint8_t> turned(static_cast<size_t>(box.width) * kLanes);
  std::vector<uint8_t> result(static_cast<size_t>(width) * kLanes);
  for (int y = 0; y < box.height; y += kRows) {
    const int rows = std::min(kRows, box.height - y);
    turn_in(source, box, y, rows, turned.data());
    resize_rows(turned.data(), taps, width, result.data());
    turn_out(result.data(), y, rows, image);
  }
  return image;
}

LOCKSTEP_CLONES void add_row(const uint8_t* row, int32_t weight, int bytes, int32_t* sums) {
  for (int i = 0; i < bytes; ++i) sums[i] += row[i] * weight;
}

LOCKSTEP_CLONES void store_row(const int32_t* sums, int bytes, uint8_t* row) {
  for (int i = 0; i < bytes; ++i) row[i] = to_byte(sums[i]);
}

Image resize_vertically(const Image& source, float extent, int height, Filter filter) {
  const Taps taps = plan_taps(source.height, extent, height, filter);
  Image image(source.width, height);
  const int bytes = 3 * source.width;
  std::vector<int32_t> sums(static_cast<size_t>(bytes));
  for (int y = 0; y < height; ++y) {
    std::ranges::fill(sums, kRounding);
    const auto output = static_cast<size_t>(y);
    for (int t = 0; t < taps.count[output]; ++t) {
      add_row(source.row(taps.first[output] + t),
              taps.weights[output * static_cast<size_t>(taps.most) + static_cast<size_t>(t)], bytes,
              sums.data());
    }
    store_row(sums.data(), bytes, image.row(y));
  }
  return image;
}

// Of `box`, the part that is `right` wide and `bottom` high.
Image resize_within(const Image& source, const Box& box, float right, float bottom, int width,
                    int height, Filter filter) {
  const auto in_width = [&](const Image& image, const Box& part) {
    const bool same = width == part.width && right == static_cast<float>(width);
    return same ? crop(image, part) : resize_horizontally(image, part, right, width, filter);
  };
  const auto in_height = [&](const Image& image) {
    const bool same = height == image.height && bottom == static_cast<float>(height);
    return same ? image : resize_vertically(image, bottom, height, filter);
  };
  // Pillow 13 begins with the height where that loses more than twice as much as the width.
  const int fewer_rows = box.height - height;
  if (fewer_rows > 0 && fewer_rows > 2 * (box.width - width)) {
    return in_width(in_height(crop(source, box)), {0, 0, box.width, height});
  }
  return in_height(in_width(source, box));
}

// The mean of `box`, rounded as Pillow's reduce() does: a product with the inverse in 24-bit fixed
// point, which is itself a float32.
void average_block(const Image& source, const Box& box, uint8_t* pixel) {
  const auto count = static_cast<uint32_t>(box.width * box.height);
  const auto inverse = static_cast<uint32_t>(16777216.0f / static_cast<float>(count));
  std::array<uint32_t, 3> sums{count / 2, count / 2, count / 2};
  for (int y = box.top; y < box.top + box.height; ++y) {
    const uint8_t* value = source.at(box.left, y);
    for (int x = 0; x < box.width; ++x, value += 3) {
      for (size_t c = 0; c < 3; ++c) sums[c] += value[c];
    }
  }
  for (size_t c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>((sums[c] * inverse) >> 24);
}

// One pixel for each block of x_factor times y_factor, the last ones of what is left.
Image reduce(const Image& source, int x_factor, int y_factor) {
  if (x_factor == 1 && y_factor == 1) return source;
  Image image((source.width + x_factor - 1) / x_factor, (source.height + y_factor - 1) / y_factor);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const int left = x * x_factor, top = y * y_factor;
      average_block(source,
                    {left, top, std::min(x_factor, source.width - left),
                     std::min(y_factor, source.height - top)},
                    image.at(x, y));
    }
  }
  return image;
}

// The whole number beside `exact` that comes nearer to the shape wanted, by `error`; at least 1.
template <typename Error>
int nearer(double exact, Error&& error) {
  const int below = static_cast<int>(std::floor(exact)), above = static_cast<int>(std::ceil(exact));
  return std::max(1, error(above) < error(below) ? above : below);
}

}  // namespace

Image crop(const Image& source, const Box& box) {
  Image image(box.width, box.height);
  for (int y = 0; y < box.height; ++y) {
    std::memcpy(image.row(y), source.at(box.left, box.top + y), 3 * static_cast<size_t>(box.width));
  }
  return image;
}

Image resize(const Image& source, const Box& box, int width, int height, Filter filter) {
  return resize_within(source, box, static_cast<float>(box.width), static_cast<float>(box.height),
                       width, height, filter);
}

Image resize_part(const Image& source, float right, float bottom, int width, int height,
                  Filter filter) {
  return resize_within(source, {0, 0, source.width, source.height}, right, bottom, width, height,
                       filter);
}

Image thumbnail(const Image& source, int longest) {
  if (source.width <= longest && source.height <= longest) return source;
  const double aspect = static_cast<double>(source.width) / source.height;
  int width = longest, height = longest;
  if (aspect <= 1.0) {
    width = nearer(longest * aspect,
                   [&](int n) { return std::abs(aspect - static_cast<double>(n) / longest); });
  } else {
    height = nearer(longest / aspect, [&](int n) {
      return n == 0 ? 0.0 : std::abs(aspect - static_cast<double>(longest) / n);
    });
  }
  constexpr double kGap = 2.0;
  const int x_factor =
      std::max(1, static_cast<int>(static_cast<double>(source.width) / width / kGap));
  const int y_factor =
      std::max(1, static_cast<int>(static_cast<double>(source.height) / height / kGap));
  const float right = static_cast<float>(source.width) / static_cast<float>(x_factor);
  const float bottom = static_cast<float>(source.height) / static_cast<float>(y_factor);
  return resize_part(reduce(source, x_factor, y_factor), right, bottom, width, height,
                     Filter::lanczos);
}

}  // namespace lockstep::pixels
