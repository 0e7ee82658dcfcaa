// Between sampling.cc, which decides, and the per-ISA files, which go over vocabularies. See kernels.h for what those files
// must keep to. Every result is the same on every path, bit for bit.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sparq {

// Neighbouring tokens that share a maximum and a partial sum. A multiple of every path's vector length.
constexpr int32_t kStride = 64;

// Elements that a kernel may read or write past the end of a list.
constexpr int32_t kListSlack = 64;

inline int32_t strideCount(int32_t n) { return (n + kStride - 1) / kStride; }

// 2^((logit - peak) * scale), rounded to a multiple of 2^-34.
struct Weighing {
  float peak, scale;
};

struct Mass {
  double weight = 0;
  int32_t count = 0;
};

// Tokens, ids ascending; weights and ids may be null.
struct List {
  float* values;
  float* weights;
  int32_t* ids;
};

struct SamplingKernels {
  // Copies the logits, minus infinity in place of those whose bit in `mask` is 0 (bit i % 32 of word i / 32).
  void (*applyMask)(const float* logits, int32_t n, const int32_t* mask, float* masked);
  // The largest logit of each stride, NaN left out; false if there is one.
  bool (*maxima)(const float* logits, int32_t n, float* maxima);
  // The sum of the weights of each stride; returns the total.
  double (*sumStrides)(const float* logits, int32_t n, const float* maxima, Weighing weighing, double* sums);
  // The weight of each value in a list; returns their sum.
  double (*weigh)(const float* values, int32_t n, Weighing weighing, float* weights);
  // Lists the logits that reach `bound`, ids ascending. Returns how many.
  int32_t (*collect)(const float* logits, int32_t n, const float* maxima, float bound, float* values, int32_t* ids);
  // How many values reach `bound`, and what they weigh; `weights` may be null, then 0.
  Mass (*atLeast)(const float* values, const float* weights, int32_t n, float bound);
  // Copies the entries with values in [low, high), in order; `to` may be `from`. Returns how many.
  int32_t (*between)(List from, int32_t n, float low, float high, List to);
};

extern const SamplingKernels scalarSampling;
#if defined(__x86_64__)
extern const SamplingKernels avx2Sampling;
extern const SamplingKernels avx512Sampling;
#elif defined(__aarch64__)
extern const SamplingKernels neonSampling;
#endif

}  // namespace sparq
