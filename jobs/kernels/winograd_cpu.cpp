#include "jobs/kernels/winograd_cpu.h"

#include "comm/clones.h"
#include "jobs/kernels/vector.h"

namespace lockstep::jobs {
namespace {

// What fills a register of AVX-512; two of AVX2 wait less for each other than one.
constexpr int64_t kNumbers = 16;
using Numbers = Floats<kNumbers>;
using Sixteen = Numbers::InMemory;
static_assert(kWinogradChannels % kNumbers == 0);

// The matrices of the paper, on a row or column `step` apart: B^T, G, A^T, and the transposed ones
// of gradients. Each says how many go in and come out.

struct PixelsToProducts {
  static constexpr int kIn = 6, kOut = 6;
  LOCKSTEP_INLINE static void apply(const Sixteen* d, int step, Sixteen* out, int out_step) {
    const Sixteen even = d[4 * step] - 4.0f * d[2 * step], odd = d[3 * step] - 4.0f * d[step];
    const Sixteen near = d[4 * step] - d[2 * step], far = 2.0f * (d[3 * step] - d[step]);
    out[0] = 4.0f * d[0] - 5.0f * d[2 * step] + d[4 * step];
    out[out_step] = even + odd;
    out[2 * out_step] = even - odd;
    out[3 * out_step] = near + far;
    out[4 * out_step] = near - far;
    out[5 * out_step] = 4.0f * d[step] - 5.0f * d[3 * step] + d[5 * step];
  }
};

struct WeightsToProducts {
  static constexpr int kIn = 3, kOut = 6;
  LOCKSTEP_INLINE static void apply(const Sixteen* g, int step, Sixteen* out, int out_step) {
    const Sixteen outer = (g[0] + g[2 * step]) * (-1.0f / 6), middle = g[step] * (-1.0f / 6);
    const Sixteen even = g[0] * (1.0f / 24) + g[2 * step] * (1.0f / 6), odd = g[step] * (1.0f / 12);
    out[0] = g[0] * 0.25f;
    out[out_step] = outer + middle;
    out[2 * out_step] = outer - middle;
    out[3 * out_step] = even + odd;
    out[4 * out_step] = even - odd;
    out[5 * out_step] = g[2 * step];
  }
};

struct ProductsToResults {
  static constexpr int kIn = 6, kOut = 4;
  LOCKSTEP_INLINE static void apply(const Sixteen* m, int step, Sixteen* out, int out_step) {
    const Sixteen sum1 = m[step] + m[2 * step], difference1 = m[step] - m[2 * step];
    const Sixteen sum2 = m[3 * step] + m[4 * step], difference2 = m[3 * step] - m[4 * step];
    out[0] = m[0] + sum1 + sum2;
    out[out_step] = difference1 + 2.0f * difference2;
    out[2 * out_step] = sum1 + 4.0f * sum2;
    out[3 * out_step] = difference1 + 8.0f * difference2 + m[5 * step];
  }
};

struct ResultGradientsToProducts {
  static constexpr int kIn = 4, kOut = 6;
  LOCKSTEP_INLINE static void apply(const Sixteen* y, int step, Sixteen* out, int out_step) {
    const Sixteen even = y[0] + y[2 * step], odd = y[step] + y[3 * step];
    const Sixteen even4 = y[0] + 4.0f * y[2 * step], odd4 = 2.0f * y[step] + 8.0f * y[3 * step];
    out[0] = y[0];
    out[out_step] = even + odd;
    out[2 * out_step] = even - odd;
    out[3 * out_step] = even4 + odd4;
    out[4 * out_step] = even4 - odd4;
    out[5 * out_step] = y[3 * step];
  }
};

struct ProductsToWeightGradients {
  static constexpr int kIn = 6, kOut = 3;
  LOCKSTEP_INLINE static void apply(const Sixteen* u, int step, Sixteen* out, int out_step) {
    const Sixteen sum1 = u[step] + u[2 * step], difference1 = u[2 * step] - u[step];
    const Sixteen sum2 = u[3 * step] + u[4 * step], difference2 = u[3 * step] - u[4 * step];
    out[0] = 0.25f * u[0] - sum1 * (1.0f / 6) + sum2 * (1.0f / 24);
    out[out_step] = difference1 * (1.0f / 6) + difference2 * (1.0f / 12);
    out[2 * out_step] = (sum2 - sum1) * (1.0f / 6) + u[5 * step];
  }
};

// Rows and then columns of a square.
template <typename Matrix>
LOCKSTEP_INLINE void transform(const Sixteen* in, Sixteen* out) {
  Sixteen half[Matrix::kOut * Matrix::kIn];
  for (int j = 0; j < Matrix::kIn; ++j) Matrix::apply(in + j, Matrix::kIn, half + j, Matrix::kIn);
  for (int i = 0; i < Matrix::kOut; ++i)
    Matrix::apply(half + i * Matrix::kIn, 1, out + i * Matrix::kOut, 1);
}

// Where a tile of results begins in its picture, and where that lies in memory.
struct Tile {
  int64_t row, column, offset;

  Tile(const WinogradTiles& tiles, int64_t number) {
    const int64_t picture = number / tiles.of_picture(), place = number % tiles.of_picture();
    row = 4 * (place / tiles.columns());
    column = 4 * (place % tiles.columns());
    offset = picture * tiles.height * tiles.width * tiles.channels;
  }
};

// Calls visit(address offset, index) for each of side x side pixels that the picture has, the first
// `before` above and left of the tile.
template <int kSide, typename Visit>
LOCKSTEP_INLINE void for_each_pixel(const WinogradTiles& tiles, const Tile& tile, int64_t before,
                                    const Visit& visit) {
  for (int i = 0; i < kSide; ++i) {
    const int64_t y = tile.row + i - before;
    if (y < 0 || y >= tiles.height) continue;
    for (int j = 0; j < kSide; ++j) {
      const int64_t x = tile.column + j - before;
      if (x < 0 || x >= tiles.width) continue;
      visit(tile.offset + (y * tiles.width + x) * tiles.channels, i * kSide + j);
    }
  }
}

// Of squares of pixels, which lie as far before a tile's results as such a square is larger.
template <typename Matrix>
LOCKSTEP_INLINE void to_products(const WinogradTiles& tiles, TileRange range, const float* pixels,
                                 float* products) {
  constexpr int kIn = Matrix::kIn;
  const int64_t place = from_place_to_place(range.count, tiles.channels);
  for (int64_t t = 0; t < range.count; ++t) {
    const Tile tile(tiles, range.first + t);
    for (int64_t c = 0; c < tiles.channels; c += kNumbers) {
      Sixteen in[kIn * kIn] = {}, out[kWinogradPlaces];
      for_each_pixel<kIn>(tiles, tile, (kIn - 4) / 2,
                          [&](int64_t offset, int i) { in[i] = Numbers::at(pixels + offset + c); });
      transform<Matrix>(in, out);
      for (int64_t p = 0; p < kWinogradPlaces; ++p)
        Numbers::at(products + p * place + t * tiles.channels + c) = out[p];
    }
  }
}

}  // namespace

LOCKSTEP_CLONES void winograd_pixels(const WinogradTiles& tiles, TileRange range,
                                     const float* pixels, float* products) {
  to_products<PixelsToProducts>(tiles, range, pixels, products);
}

LOCKSTEP_CLONES void winograd_result_gradients(const WinogradTiles& tiles, TileRange range,
                                               const float* gradients, float* products) {
  to_products<ResultGradientsToProducts>(tiles, range, gradients, products);
}

LOCKSTEP_CLONES void winograd_results(const WinogradTiles& tiles, TileRange range,
                                      const float* products, float* results) {
  const int64_t place = from_place_to_place(range.count, tiles.channels);
  for (int64_t t = 0; t < range.count; ++t) {
    const Tile tile(tiles, range.first + t);
    for (int64_t c = 0; c < tiles.channels; c += kNumbers) {
      Sixteen in[kWinogradPlaces], out[16];
      for (int64_t p = 0; p < kWinogradPlaces; ++p)
        in[p] = Numbers::at(products + p * place + t * tiles.channels + c);
      transform<ProductsToResults>(in, out);
      for_each_pixel<4>(tiles, tile, 0,
                        [&](int64_t offset, int i) { Numbers::at(results + offset + c) = out[i]; });
    }
  }
}

LOCKSTEP_CLONES void winograd_weights(int64_t out, int64_t in, bool turned, const float* weights,
                                      float* products) {
  const int64_t place = from_place_to_place(out, in);
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t c = 0; c < in; c += kNumbers) {
      Sixteen taps[9], of_taps[kWinogradPlaces];
      for (int64_t k = 0; k < 9; ++k)
        taps[turned ? 8 - k : k] = Numbers::at(weights + (9 * o + k) * in + c);
      transform<WeightsToProducts>(taps, of_taps);
      for (int64_t p = 0; p < kWinogradPlaces; ++p)
        Numbers::at(products + p * place + o * in + c) = of_taps[p];
    }
  }
}

LOCKSTEP_CLONES void winograd_weight_gradients(int64_t out, int64_t in, const float* products,
                                               float* gradients) {
  const int64_t place = from_place_to_place(out, in);
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t c = 0; c < in; c += kNumbers) {
      Sixteen of_taps[kWinogradPlaces], taps[9];
      for (int64_t p = 0; p < kWinogradPlaces; ++p)
        of_taps[p] = Numbers::at(products + p * place + o * in + c);
      transform<ProductsToWeightGradients>(of_taps, taps);
      for (int64_t k = 0; k < 9; ++k) Numbers::at(gradients + (9 * o + k) * in + c) = taps[k];
    }
  }
}

}  // namespace lockstep::jobs
