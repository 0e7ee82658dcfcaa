// Between qlinear.cc, which rounds the inputs and cuts a product into tasks, and the per-ISA files, which run them. What
// kernels.h says of those files holds here too.
//
// Every kernel computes an output in this order, so that all give the same bits:
//   total = bias, or 0
//   for each block: dot = the whole number sum of q * v + zero, exact in int32
//     total = fma(float(dot), weight scale * input scale, total)
//     total = fma(offset, sum, total), if there are offsets
#pragma once
#include <cstdint>

namespace sparq {

// What a block's inputs share: input = scale * v.
struct BlockInput {
  float scale;
  float sum;         // scale * valueSum
  int32_t valueSum;  // of the block's v
  int32_t zero;      // -(the weights' zero) * valueSum
};

// Two int8 planes stand for v = kPlaneBase * high + low: both within +-127, so that 8-bit products never saturate.
constexpr int32_t kPlaneBase = 255;

// What the tasks of one product share. See qlinear.h for the packed layout.
struct LinearCall {
  const uint8_t* packed;
  const float* bias;         // [outputs] or null
  const int8_t* values;      // [rows][blocks][planes][blockSize]
  const BlockInput* inputs;  // [rows][blocks]
  float* out;                // [rows][outputs]
  int64_t outputs, blocks, tileBytes, quantsAt;
  int32_t bits, blockSize, planes;
  bool halfScales, hasOffsets;
};

// Computes outputs [16 * tileBegin, 16 * tileEnd) of rows [rowBegin, rowEnd).
using LinearKernel = void (*)(const LinearCall&, int64_t tileBegin, int64_t tileEnd, int64_t rowBegin, int64_t rowEnd);

void linearScalar(const LinearCall&, int64_t tileBegin, int64_t tileEnd, int64_t rowBegin, int64_t rowEnd);
#if defined(__x86_64__)
void linearAvx2(const LinearCall&, int64_t tileBegin, int64_t tileEnd, int64_t rowBegin, int64_t rowEnd);
void linearVnni(const LinearCall&, int64_t tileBegin, int64_t tileEnd, int64_t rowBegin, int64_t rowEnd);
#elif defined(__aarch64__)
void linearNeon(const LinearCall&, int64_t tileBegin, int64_t tileEnd, int64_t rowBegin, int64_t rowEnd);
void linearNeonDot(const LinearCall&, int64_t tileBegin, int64_t tileEnd, int64_t rowBegin, int64_t rowEnd);
#endif

}  // namespace sparq
