// Linear layers whose weights are quantised in blocks: how the weights are packed, the product with float32 inputs, and
// the lookup of rows for an embedding. The weights are read where they lie, in a memory-mapped file.
//
// A weight is scale * (q - zero) + offset with an unsigned q of `bits` bits; scale and offset belong to a block of
// `blockSize` inputs. Without offsets zero is 2^(bits - 1); with them it is 0.
//
// Packed, 16 outputs make a tile, and the tiles follow one another; the last is filled up with zeros. A tile is
//   for each block: scales [16], then offsets [16] if there are any, all f16 or all f32
//   zeros up to a multiple of 64 bytes
//   for each block: quants [blockSize / 4][16 outputs][4 inputs], one byte each; of 4 bits, a byte of
//     [blockSize / 8][16][4] holds group j of four inputs in its low half and group j + blockSize / 8 in the high one
// models/builder/pack.ts writes this.
#pragma once
#include <cstddef>
#include <cstdint>

#include "attention.h"

namespace sparq {

struct LinearShape {
  int64_t inputs, outputs;
  int32_t bits, blockSize;  // 4 or 8; 16 or 32
  bool halfScales;          // scales and offsets are f16, not f32
  bool hasOffsets;

  int64_t blocks() const { return inputs / blockSize; }
  int64_t tiles() const { return (outputs + 15) / 16; }
  int64_t blockConstantBytes() const { return 16 * (halfScales ? 2 : 4) * (hasOffsets ? 2 : 1); }
  int64_t blockQuantBytes() const { return int64_t{2} * blockSize * bits; }
  int64_t constantBytes() const { return (blocks() * blockConstantBytes() + 63) / 64 * 64; }  // of a tile, padded
  int64_t tileBytes() const { return constantBytes() + blocks() * blockQuantBytes(); }
  int64_t bytes() const { return tiles() * tileBytes(); }
};

// Throws std::invalid_argument for bits, block sizes or sizes that the layout does not have.
void checkShape(const LinearShape& shape);

// How inputs are rounded: each to one int8, or to two of together 16 bits, relative to its block's largest magnitude.
enum class Activations : int32_t { Int8 = 1, Int8x2 = 2 };

// out[row][output] = bias[output] + the sum over inputs of weight * input[row][inputs]; bias may be null. `packed` has
// shape.bytes() bytes at a multiple of 64. Bitwise the same on every path and for every number of rows and threads. A
// block of inputs that are all smaller than 1e-30 counts as zeros; one with an infinity or NaN makes its row NaN.
void qlinear(Path path, const LinearShape& shape, const uint8_t* packed, const float* bias, Activations activations,
             const float* input, float* out, int64_t rows, const Pool& pool);

// out[i][inputs] = the weights of output ids[i], exactly as they are in f32. Throws std::invalid_argument for an id that
// is not below shape.outputs.
void qembedding(const LinearShape& shape, const uint8_t* packed, const int64_t* ids, float* out, int64_t count);

}  // namespace sparq
