// Sampling in the portable vector type, on the architecture's baseline (SSE2, NEON).
#include "simd_scalar.h"

namespace sparq {
namespace {

typedef double DoubleVec __attribute__((vector_size(32)));

struct Sum {
  DoubleVec lanes = {0, 0, 0, 0};
  void add(Vec x) { lanes += __builtin_convertvector(x, DoubleVec); }
  double total() const { return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]); }
};

// Without branches, which random masks would mislead.
inline void keepMasked(Vec x, uint32_t mask, float* to) {
  for (int i = 0; i < kLanes; i++) {
    const float lane = x[i];
    std::memcpy(to, &lane, sizeof lane);  // or an integer's bits
    to += mask >> i & 1;
  }
}
inline void keepNumbers(int32_t first, uint32_t mask, int32_t* to) {
  for (int i = 0; i < kLanes; i++) {
    *to = first + i;
    to += mask >> i & 1;
  }
}

}  // namespace
}  // namespace sparq

#define SAMPLING scalarSampling
#include "sampling_body.inc"
