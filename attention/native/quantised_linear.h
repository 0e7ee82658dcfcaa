// What surrounds MatMulNBits, ONNX Runtime's product of block-quantised weights with int8 activations, so that it computes
// what the dequantised weights would: activations of about 15 bits, and a constant for each block of weights. For graphs
// made with linears "matmulnbits"; the default is qlinear.h.
//
// One int8 for an activation loses too much (SmolLM2-135M: the likeliest token changes at 3.5 % of positions). So a row
// becomes two: the part that int8 holds exactly, and what that left out. The products of the two add up.
#pragma once
#include <cstddef>
#include <cstdint>

#include "attention.h"

namespace sparq {

// From input [rows][columns], with blocks of `blockSize` columns (a multiple of 16 that divides `columns`):
//   halves [2][rows][columns]: each value as a multiple of 1/127 of its block's largest magnitude, then the rest of it
//   sums [rows][columns / blockSize]: of each block's values
// Bitwise the same on every path and for every number of threads and rows.
void splitActivations(Path path, const float* input, float* halves, float* sums, int64_t rows, int64_t columns,
                      int64_t blockSize, const Pool& pool);

// out[row][column] = products[0][row][column] + products[1][row][column] + the sum of sums[row][b] * offsets[b][column]
// over b < blocks, which may be 0. Bitwise the same on every path and for every number of threads and rows.
void joinProducts(Path path, const float* products, const float* sums, const float* offsets, float* out, int64_t rows,
                  int64_t columns, int64_t blocks, const Pool& pool);

}  // namespace sparq
