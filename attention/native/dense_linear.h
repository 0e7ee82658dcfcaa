// Linear layers over matrices of plain floats (f32, f16 or bf16) as checkpoints have them: [outputs][inputs], read in place
// from the mapped weights file.
//
// Layout of a call: input [rows][inputs] in f32, out [rows][outputs] in f32, sums in f32. An output is the sum of its products
// in an order that depends on the number of inputs and the path's vector width alone: a row comes out bitwise the same among
// any number of rows and on any number of threads.
#pragma once
#include <cstdint>
#include <span>

#include "attention.h"
#include "elements.h"

namespace sparq {

struct DenseShape {
  int64_t inputs, outputs;
  DType dtype;  // F32, F16 or BF16

  int64_t bytes() const { return inputs * outputs * static_cast<int64_t>(elementBytes(dtype)); }
};

// Rows of the matrix that lie one after the other; at any alignment.
struct DensePiece {
  const void* weights;
  int64_t outputs;
};

// out[row][n] = sum over k of input[row][k] * weights[n][k], plus bias[n] unless it is null. The pieces' outputs follow one another
// and are shape.outputs in all; how many pieces there are changes no bit.
void denseLinear(Path path, const DenseShape& shape, std::span<const DensePiece> pieces, const float* bias, const float* input,
                 float* out, int64_t rows, const Pool& pool);

// Row ids[i] of the table as floats to out[i]. Throws std::invalid_argument for an id that is no row.
void denseEmbedding(const DenseShape& shape, const void* table, const int64_t* ids, float* out, int64_t count);

}  // namespace sparq
