// Between dense_linear.cc, which cuts a product into tasks, and the per-ISA files, which run them (see kernels.h for what those
// may use).
#pragma once
#include <cstdint>

#include "elements.h"

namespace sparq {

struct DenseCall {
  const void* weights;  // of outputs from firstOutput on
  int64_t firstOutput;
  const float* bias;
  const float* input;
  float* out;
  int64_t inputs, outputs;
  DType dtype;
};

// Outputs [outputBegin, outputEnd) of rows [rowBegin, rowEnd).
using DenseKernel = void (*)(const DenseCall&, int64_t outputBegin, int64_t outputEnd, int64_t rowBegin, int64_t rowEnd);

void denseScalar(const DenseCall&, int64_t outputBegin, int64_t outputEnd, int64_t rowBegin, int64_t rowEnd);
#if defined(__x86_64__)
void denseAvx2(const DenseCall&, int64_t outputBegin, int64_t outputEnd, int64_t rowBegin, int64_t rowEnd);
void denseAvx512(const DenseCall&, int64_t outputBegin, int64_t outputEnd, int64_t rowBegin, int64_t rowEnd);
#elif defined(__aarch64__)
void denseNeon(const DenseCall&, int64_t outputBegin, int64_t outputEnd, int64_t rowBegin, int64_t rowEnd);
#endif

}  // namespace sparq
