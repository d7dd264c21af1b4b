#include "jobs/kernels/product_cpu.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

#include "comm/clones.h"
#include "jobs/kernels/vector.h"

namespace lockstep::jobs {
namespace {

// A tile of results stays in twelve registers while its terms are added: so many rows, two
// registers of kNumbers each.
constexpr int64_t kTileRows = 6;
template <int64_t kNumbers>
constexpr int64_t kTileColumns = 2 * kNumbers;
// Blocks: of b in the outer cache, of a in the middle one, a panel of b in the inner one.
constexpr int64_t kDepth = 384, kRows = 24 * kTileRows, kColumns = 1536;
// For so few columns rows that have no gaps are not worth packing.
constexpr int64_t kFewColumns = 512;

// Packing goes by eight numbers.
constexpr int64_t kEight = 8;
using Eight = Floats<kEight>::Value;

// Rows that are packed side by side: they stay in the inner cache.
constexpr int64_t kTogether = 16;

constexpr std::align_val_t kAligned{64};
struct Free {
  void operator()(float* memory) const { operator delete[](memory, kAligned); }
};
using Packed = std::unique_ptr<float[], Free>;

// With what is written beyond the last.
Packed room_for(int64_t count) {
  return Packed(new (kAligned) float[static_cast<size_t>(count + kEight)]);
}

// Eight floats of kRows rows, `stride` apart, turned over into eight rows, which are filled up to
// eight floats each where there are fewer rows: the next one begins there.
template <int64_t kRows>
LOCKSTEP_INLINE void turn(const float* from, int64_t stride, float* to, int64_t to_stride) {
  Eight rows[kEight], pairs[kEight], fours[kEight];
  for (int64_t i = 0; i < kEight; ++i)
    rows[i] = i < kRows ? Eight(Floats<kEight>::at(from + i * stride)) : Eight{};
  for (int64_t i = 0; i < kEight; i += 2) {
    pairs[i] = __builtin_shufflevector(rows[i], rows[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = __builtin_shufflevector(rows[i], rows[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int64_t i = 0; i < kEight; i += 4) {
    for (int64_t j = 0; j < 2; ++j) {
      const Eight &one = pairs[i + j], &other = pairs[i + j + 2];
      fours[i + 2 * j] = __builtin_shufflevector(one, other, 0, 1, 8, 9, 4, 5, 12, 13);
      fours[i + 2 * j + 1] = __builtin_shufflevector(one, other, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int64_t i = 0; i < 4; ++i) {  // in order: each ends what the one before wrote too far
    Floats<kEight>::at(to + i * to_stride) =
        __builtin_shufflevector(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
  }
  for (int64_t i = 0; i < 4; ++i) {
    Floats<kEight>::at(to + (i + 4) * to_stride) =
        __builtin_shufflevector(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// `count` times kLines floats that lie side by side, `stride` apart, one after the other. All but
// the last are copied by whole vectors: the next begins where one ends.
template <int64_t kLines>
LOCKSTEP_INLINE void copy_lines(const float* from, int64_t stride, int64_t count, float* to) {
  constexpr int64_t kCopied = (kLines + kEight - 1) / kEight * kEight;
  if (stride >= kLines) {
    for (; count > 1; --count, from += stride, to += kLines) {
      __builtin_prefetch(from + kTogether * stride);
      std::memcpy(to, from, kCopied * sizeof(float));
    }
  }
  for (; count > 0; --count, from += stride, to += kLines) {
    std::memcpy(to, from, kLines * sizeof(float));
  }
}

// Lines of `x` (its rows) in panels of kLines, [panel][depth][kLines]; the last is filled up with
// zeros.
template <int64_t kLines>
LOCKSTEP_INLINE void pack(const MatrixView& x, int64_t lines, int64_t depth, float* packed) {
  const int64_t whole = lines / kLines * kLines;
  if (x.row_stride == 1) {
    for (int64_t first = 0; first < depth; first += kTogether) {
      const int64_t end = std::min(depth, first + kTogether);
      for (int64_t line = 0; line < whole; line += kLines) {
        copy_lines<kLines>(x.values + line + first * x.column_stride, x.column_stride, end - first,
                           packed + line * depth + first * kLines);
      }
    }
  } else {
    for (int64_t line = 0; line < whole; line += kLines) {
      const float* from = x.values + line * x.row_stride;
      float* to = packed + line * depth;
      int64_t p = 0;
      for (; x.column_stride == 1 && p + kEight <= depth; p += kEight) {
        for (int64_t i = 0; i < kLines; i += kEight) {
          turn<std::min(kLines, kEight)>(from + i * x.row_stride + p, x.row_stride,
                                         to + p * kLines + i, kLines);
        }
      }
      for (; p < depth; ++p) {
        for (int64_t i = 0; i < kLines; ++i) {
          to[p * kLines + i] = from[i * x.row_stride + p * x.column_stride];
        }
      }
    }
  }
  if (whole == lines) return;
  const float* from = x.values + whole * x.row_stride;
  float* to = packed + whole * depth;
  for (int64_t p = 0; p < depth; ++p) {
    for (int64_t i = 0; i < kLines; ++i) {
      const bool there = i < lines - whole;
      *to++ = there ? from[i * x.row_stride + p * x.column_stride] : 0.0F;
    }
  }
}

// The rows of a panel of a, packed by pack().
struct PackedRows {
  const float* values;
  LOCKSTEP_INLINE float at(int64_t row, int64_t p) const { return values[p * kTileRows + row]; }
};

// The same as they lie, each without gaps; beyond the last of `count` that one again.
struct RowsInPlace {
  const float* rows[kTileRows];

  LOCKSTEP_INLINE RowsInPlace(const MatrixView& a, int64_t first, int64_t count) {
    for (int64_t i = 0; i < kTileRows; ++i)
      rows[i] = a.from(std::min(first + i, count - 1), 0).values;
  }
  LOCKSTEP_INLINE float at(int64_t row, int64_t p) const { return rows[row][p]; }
};

// A tile of results, or its left half, from a panel of each side.
template <int64_t kNumbers, int64_t kHalves = 2, typename Rows>
LOCKSTEP_INLINE void multiply_tile(int64_t depth, const Rows& a, const float* b,
                                   const ProductStart& start, float* result, int64_t stride) {
  using Line = Floats<kNumbers>;
  using Value = typename Line::Value;
  Value sums[kTileRows][kHalves];
  for (int64_t i = 0; i < kTileRows; ++i) {
    const float* begin = start.bias != nullptr ? start.bias : result + i * stride;
    const bool from_there = start.bias != nullptr || start.add;
    for (int64_t half = 0; half < kHalves; ++half) {
      sums[i][half] = from_there ? Value(Line::at(begin + half * kNumbers)) : Value{};
    }
  }
  // What is written last is fetched meanwhile, by the end of each row, which the first may share.
  for (int64_t i = 0; i < kTileRows; ++i) {
    __builtin_prefetch(result + i * stride + kHalves * kNumbers - 1, /*to write=*/1);
  }
#pragma GCC unroll 4
  for (int64_t p = 0; p < depth; ++p) {
    Value right[kHalves];
    for (int64_t half = 0; half < kHalves; ++half) right[half] = Line::at(b + half * kNumbers);
#pragma GCC unroll 6
    for (int64_t i = 0; i < kTileRows; ++i) {
      for (int64_t half = 0; half < kHalves; ++half) sums[i][half] += a.at(i, p) * right[half];
    }
    b += kTileColumns<kNumbers>;
  }
  for (int64_t i = 0; i < kTileRows; ++i) {
    for (int64_t half = 0; half < kHalves; ++half) {
      Line::at(result + i * stride + half * kNumbers) = sums[i][half];
    }
  }
}

// One that reaches beyond the last row or column.
template <int64_t kNumbers, typename Rows>
LOCKSTEP_INLINE void multiply_edge(int64_t depth, const Rows& a, const float* b,
                                   const ProductStart& start, float* result, int64_t stride,
                                   int64_t rows, int64_t columns) {
  constexpr int64_t kStride = kTileColumns<kNumbers>;
  float whole[kTileRows * kStride] = {};
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      float& value = whole[i * kStride + j];
      if (start.bias != nullptr) value = start.bias[j];
      if (start.add) value = result[i * stride + j];
    }
  }
  const ProductStart there{.bias = nullptr, .add = true};
  if (columns > kNumbers) {
    multiply_tile<kNumbers>(depth, a, b, there, whole, kStride);
  } else {
    multiply_tile<kNumbers, 1>(depth, a, b, there, whole, kStride);
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) result[i * stride + j] = whole[i * kStride + j];
  }
}

// `rows_from(i)`: those of the panel that begins at row i.
template <int64_t kNumbers, typename RowsFrom>
LOCKSTEP_INLINE void multiply_block(const ProductShape& block, const RowsFrom& rows_from,
                                    const float* b, const ProductStart& start, float* result,
                                    int64_t stride) {
  constexpr int64_t kTile = kTileColumns<kNumbers>;
  for (int64_t j = 0; j < block.columns; j += kTile) {
    const int64_t columns = std::min(kTile, block.columns - j);
    const ProductStart here{start.bias == nullptr ? nullptr : start.bias + j, start.add};
    for (int64_t i = 0; i < block.rows; i += kTileRows) {
      const int64_t rows = std::min(kTileRows, block.rows - i);
      const auto left = rows_from(i);
      const float* right = b + j * block.depth;
      float* tile = result + i * stride + j;
      if (rows == kTileRows && columns == kTile) {
        multiply_tile<kNumbers>(block.depth, left, right, here, tile, stride);
      } else {
        multiply_edge<kNumbers>(block.depth, left, right, here, tile, stride, rows, columns);
      }
    }
  }
}

int64_t whole_tiles(int64_t count, int64_t tile) { return (count + tile - 1) / tile * tile; }

template <int64_t kNumbers>
LOCKSTEP_INLINE void multiply_by(const ProductShape& shape, const MatrixView& a,
                                 const MatrixView& b, const ProductStart& start, float* result,
                                 int64_t stride) {
  constexpr int64_t kTile = kTileColumns<kNumbers>;
  const int64_t deepest = std::min(kDepth, shape.depth);
  const Packed rows = room_for(deepest * whole_tiles(std::min(kRows, shape.rows), kTileRows));
  const Packed columns = room_for(deepest * whole_tiles(std::min(kColumns, shape.columns), kTile));
  for (int64_t j = 0; j < shape.columns; j += kColumns) {
    for (int64_t p = 0; p < shape.depth; p += kDepth) {
      ProductShape block{0, std::min(kColumns, shape.columns - j),
                         std::min(kDepth, shape.depth - p)};
      pack<kTile>(b.from(p, j).transposed(), block.columns, block.depth, columns.get());
      const ProductStart here =
          p > 0 ? ProductStart{.bias = nullptr, .add = true}
                : ProductStart{start.bias == nullptr ? nullptr : start.bias + j, start.add};
      for (int64_t i = 0; i < shape.rows; i += kRows) {
        block.rows = std::min(kRows, shape.rows - i);
        float* results = result + i * stride + j;
        const MatrixView left = a.from(i, p);
        if (block.columns <= kFewColumns && left.column_stride == 1) {
          const auto in_place = [&](int64_t first) { return RowsInPlace(left, first, block.rows); };
          multiply_block<kNumbers>(block, in_place, columns.get(), here, results, stride);
        } else {
          pack<kTileRows>(left, block.rows, block.depth, rows.get());
          const auto packed = [&](int64_t first) {
            return PackedRows{rows.get() + first * block.depth};
          };
          multiply_block<kNumbers>(block, packed, columns.get(), here, results, stride);
        }
      }
    }
  }
}

[[gnu::target("arch=x86-64-v4")]] void multiply_by_sixteens(const ProductShape& shape,
                                                            const MatrixView& a,
                                                            const MatrixView& b,
                                                            const ProductStart& start,
                                                            float* result, int64_t stride) {
  multiply_by<16>(shape, a, b, start, result, stride);
}

}  // namespace

LOCKSTEP_CLONES void multiply_by_eights(const ProductShape& shape, const MatrixView& a,
                                        const MatrixView& b, const ProductStart& start,
                                        float* result, int64_t stride) {
  multiply_by<8>(shape, a, b, start, result, stride);
}

void multiply(const ProductShape& shape, const MatrixView& a, const MatrixView& b,
              const ProductStart& start, float* result, int64_t stride) {
  static const bool wide = __builtin_cpu_supports("x86-64-v4");
  (wide ? multiply_by_sixteens : multiply_by_eights)(shape, a, b, start, result, stride);
}

}  // namespace lockstep::jobs
