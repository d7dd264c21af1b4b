#pragma once

#include <cstdint>

namespace lockstep::jobs {

/// The passes around the products of a 3 x 3 convolution of stride 1 and padding 1 by Winograd's
/// F(4 x 4, 3 x 3): Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2016),
/// section 4.3. Tiles of 4 x 4 results have 36 products for each pair of channels where the plain
/// sum has 144; what it adds to rounding is about four times the plain sum's own.
///
/// Pictures lie channels-last, channels a multiple of kWinogradChannels. Products lie [tiles,
/// channels] for each of kWinogradPlaces, from_place_to_place() apart. Pure but for what they are
/// given to write.
struct WinogradTiles {
  int64_t height = 0, width = 0, channels = 0;  // of a picture

  int64_t rows() const { return (height + 3) / 4; }
  int64_t columns() const { return (width + 3) / 4; }
  int64_t of_picture() const { return rows() * columns(); }
};

/// Tiles [first, first + count) of all pictures, one picture after the other.
struct TileRange {
  int64_t first = 0, count = 0;
};

constexpr int64_t kWinogradPlaces = 36;
constexpr int64_t kWinogradChannels = 16;

/// Floats from the products of one place, [rows, channels], to those of the next: an odd number of
/// cache lines. With a power of two the places of a tile would drive each other out of the cache.
constexpr int64_t from_place_to_place(int64_t rows, int64_t channels) {
  return (rows * channels) | 16;
}

/// What the products take of the pixels that tiles of results look at.
void winograd_pixels(const WinogradTiles& tiles, TileRange range, const float* pixels,
                     float* products);

/// What the products take of the weights [out, 3, 3, in], [out, in] for each place; `turned` by
/// half a turn, as the gradient of the pixels wants them.
void winograd_weights(int64_t out, int64_t in, bool turned, const float* weights, float* products);

/// The tiles of results that the products make.
void winograd_results(const WinogradTiles& tiles, TileRange range, const float* products,
                      float* results);

/// What the products for the weights' gradient take of the gradient of tiles of results.
void winograd_result_gradients(const WinogradTiles& tiles, TileRange range, const float* gradients,
                               float* products);

/// The gradient [out, 3, 3, in] that the products, [out, in] for each place, make.
void winograd_weight_gradients(int64_t out, int64_t in, const float* products, float* gradients);

}  // namespace lockstep::jobs
