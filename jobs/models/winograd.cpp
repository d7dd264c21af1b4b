#include "jobs/models/winograd.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <vector>

#include "jobs/kernels/product_cpu.h"
#include "jobs/kernels/winograd_cpu.h"

namespace lockstep::jobs {
namespace {

constexpr auto kLast = at::MemoryFormat::ChannelsLast;

WinogradTiles tiles_of(const at::Tensor& pictures) {
  return {pictures.size(2), pictures.size(3), pictures.size(1)};
}

int64_t count_tiles(const at::Tensor& pictures) {
  return pictures.size(0) * tiles_of(pictures).of_picture();
}

// All tiles in blocks whose products stay in the cache, and yet do not have the weights read all
// too often; the threads share the blocks out, each its own run of them.
class Blocks {
 public:
  Blocks(int64_t tiles, int64_t in, int64_t out) : tiles_(tiles) {
    const int64_t threads = at::get_num_threads();
    tiles_of_block_ = std::min(std::max<int64_t>({128, in, out}), (tiles + threads - 1) / threads);
  }

  int64_t tiles_of_block() const { return tiles_of_block_; }

  /// Calls work(ranges) in each thread, of which it takes one range after the other.
  template <typename Work>
  void share(const Work& work) const {
    const int64_t blocks = (tiles_ + tiles_of_block_ - 1) / tiles_of_block_;
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      std::vector<TileRange> ranges;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i * tiles_of_block_;
        ranges.push_back({first, std::min(tiles_of_block_, tiles_ - first)});
      }
      work(ranges);
    });
  }

 private:
  int64_t tiles_, tiles_of_block_;
};

// Room for the products of a block.
class Products {
 public:
  Products(const Blocks& blocks, int64_t channels)
      : channels_(channels),
        memory_(
            at::empty({kWinogradPlaces * from_place_to_place(blocks.tiles_of_block(), channels)},
                      at::kFloat)) {}

  float* begin() const { return memory_.mutable_data_ptr<float>(); }
  // [tiles of a range, channels]
  MatrixView of(int64_t place, TileRange range) const {
    return {begin() + place * from_place_to_place(range.count, channels_), channels_, 1};
  }

 private:
  int64_t channels_;
  at::Tensor memory_;
};

// Of [places, rows, columns].
MatrixView of_place(const at::Tensor& matrices, int64_t place) {
  return {matrices.const_data_ptr<float>() + place * matrices.stride(0), matrices.stride(1),
          matrices.stride(2)};
}

// `weights` [places, channels of x, channels of the result].
at::Tensor convolve(const at::Tensor& x, const at::Tensor& weights) {
  const int64_t in = weights.size(1), out = weights.size(2);
  const at::Tensor y =
      at::empty({x.size(0), out, x.size(2), x.size(3)}, x.options().memory_format(kLast));
  const Blocks blocks(count_tiles(x), in, out);
  blocks.share([&](const std::vector<TileRange>& ranges) {
    const Products of_x(blocks, in), of_y(blocks, out);
    for (const TileRange range : ranges) {
      winograd_pixels(tiles_of(x), range, x.const_data_ptr<float>(), of_x.begin());
      for (int64_t place = 0; place < kWinogradPlaces; ++place) {
        multiply({range.count, out, in}, of_x.of(place, range), of_place(weights, place), {},
                 of_y.begin() + place * from_place_to_place(range.count, out), out);
      }
      winograd_results(tiles_of(y), range, of_y.begin(), y.mutable_data_ptr<float>());
    }
  });
  return y;
}

// [places, out, in] of `memory`.
at::Tensor places_in(const at::Tensor& memory, int64_t out, int64_t in) {
  return memory.as_strided({kWinogradPlaces, out, in}, {from_place_to_place(out, in), in, 1});
}

// [places, out, in]
at::Tensor transformed(const at::Tensor& weight, bool turned) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor products =
      at::empty({kWinogradPlaces * from_place_to_place(out, in)}, weight.options());
  winograd_weights(out, in, turned, weight.contiguous(kLast).const_data_ptr<float>(),
                   products.mutable_data_ptr<float>());
  return places_in(products, out, in);
}

}  // namespace

bool suits_winograd(const at::Tensor& x, const at::Tensor& weight, int64_t stride) {
  if (weight.size(2) != 3 || stride != 1) return false;
  const WinogradTiles tiles = tiles_of(x);
  const int64_t plain = 9 * tiles.height * tiles.width;
  return plain >= 2 * kWinogradPlaces * tiles.of_picture() && count_tiles(x) >= 64;
}

at::Tensor winograd_convolution(const at::Tensor& x, const at::Tensor& weight) {
  RECORD_USER_SCOPE("winograd_convolution");
  return convolve(x, transformed(weight, /*turned=*/false).transpose(1, 2));
}

at::Tensor winograd_of_x(const at::Tensor& of_y, const at::Tensor& weight) {
  RECORD_USER_SCOPE("winograd_of_x");
  return convolve(of_y, transformed(weight, /*turned=*/true));
}

at::Tensor winograd_of_weight(const at::Tensor& x, const at::Tensor& of_y) {
  RECORD_USER_SCOPE("winograd_of_weight");
  const int64_t in = x.size(1), out = of_y.size(1);
  const Blocks blocks(count_tiles(x), in, out);
  std::vector<at::Tensor> of_threads(static_cast<size_t>(at::get_num_threads()));
  blocks.share([&](const std::vector<TileRange>& ranges) {
    const Products of_x(blocks, in), of_results(blocks, out);
    at::Tensor& sums = of_threads[static_cast<size_t>(at::get_thread_num())];
    const int64_t place_floats = from_place_to_place(out, in);
    sums = at::zeros({kWinogradPlaces * place_floats}, at::kFloat);
    for (const TileRange range : ranges) {
      winograd_pixels(tiles_of(x), range, x.const_data_ptr<float>(), of_x.begin());
      winograd_result_gradients(tiles_of(of_y), range, of_y.const_data_ptr<float>(),
                                of_results.begin());
      for (int64_t place = 0; place < kWinogradPlaces; ++place) {
        multiply({out, in, range.count}, of_results.of(place, range).transposed(),
                 of_x.of(place, range), {.bias = nullptr, .add = true},
                 sums.mutable_data_ptr<float>() + place * place_floats, in);
      }
    }
  });
  std::erase_if(of_threads, [](const at::Tensor& sums) { return !sums.defined(); });
  const at::Tensor sums = of_threads.front();
  for (size_t i = 1; i < of_threads.size(); ++i) sums.add_(of_threads[i]);
  const at::Tensor gradient = at::empty({out, 3, 3, in}, x.options());
  winograd_weight_gradients(out, in, sums.const_data_ptr<float>(),
                            gradient.mutable_data_ptr<float>());
  return gradient.permute({0, 3, 1, 2});
}

}  // namespace lockstep::jobs
