#pragma once

#include <cstdint>

namespace lockstep::jobs {

/// A matrix of floats that lies in memory as it likes: element (i, j) at
/// values[i * row_stride + j * column_stride].
struct MatrixView {
  const float* values = nullptr;
  int64_t row_stride = 0, column_stride = 0;

  MatrixView transposed() const { return {values, column_stride, row_stride}; }
  MatrixView from(int64_t row, int64_t column) const {
    return {values + row * row_stride + column * column_stride, row_stride, column_stride};
  }
};

/// What a product begins with in each row: `bias` [columns], what lies there already, or nothing.
struct ProductStart {
  const float* bias = nullptr;
  bool add = false;  // without a bias
};

struct ProductShape {
  int64_t rows = 0, columns = 0, depth = 0;
};

/// result [rows, columns], rows `stride` apart, is a [rows, depth] times b [depth, columns] upon
/// what `start` says. An element's terms are added in the same order wherever it lies, whatever
/// the other rows and columns are: who splits rows or columns among threads gets the same bits.
/// Blocks are packed and kept in the caches as Goto and van de Geijn, Anatomy of High-Performance
/// Matrix Multiplication (2008), have it. Any thread.
void multiply(const ProductShape& shape, const MatrixView& a, const MatrixView& b,
              const ProductStart& start, float* result, int64_t stride);

/// What multiply() calls where registers hold no sixteen numbers; to the bit what it calls where
/// they do.
void multiply_by_eights(const ProductShape& shape, const MatrixView& a, const MatrixView& b,
                        const ProductStart& start, float* result, int64_t stride);

}  // namespace lockstep::jobs
