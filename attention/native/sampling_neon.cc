// Sampling for aarch64, whose baseline has NEON.
#if defined(__aarch64__)
#include "simd_neon.h"

namespace sparq {
namespace {

struct Sum {
  float64x2_t low = vdupq_n_f64(0.0), high = vdupq_n_f64(0.0);
  void add(Vec x) {
    low = vaddq_f64(low, vcvt_f64_f32(vget_low_f32(x)));
    high = vaddq_f64(high, vcvt_high_f64_f32(x));
  }
  double total() const { return vaddvq_f64(vaddq_f64(low, high)); }
};

}  // namespace
}  // namespace sparq

#define SAMPLING neonSampling
#include "sampling_body.inc"
#endif
