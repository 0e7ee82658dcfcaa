// Sampling for x86-64 with AVX2; compiled with those flags only (see the Makefile).
#if defined(__x86_64__)
#include "simd_avx2.h"

namespace sparq {
namespace {

struct Sum {
  __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();
  void add(Vec x) {
    low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(x)));
    high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
  }
  double total() const {
    const __m256d both = _mm256_add_pd(low, high);
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(both), _mm256_extractf128_pd(both, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
  }
};

// Byte i of entry m: the i-th lane that is set in m.
struct Lanes {
  uint64_t of[256];
  constexpr Lanes() : of() {
    for (uint32_t mask = 0; mask < 256; mask++) {
      int found = 0;
      for (uint64_t lane = 0; lane < 8; lane++) {
        if (mask >> lane & 1) of[mask] |= lane << (8 * found++);
      }
    }
  }
};
constexpr Lanes kLanesOf;

inline __m256i chosenLanes(uint32_t mask) {
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kLanesOf.of[mask])));
}
inline void keepMasked(Vec x, uint32_t mask, float* to) { store(to, _mm256_permutevar8x32_ps(x, chosenLanes(mask))); }
inline void keepNumbers(int32_t first, uint32_t mask, int32_t* to) {
  const __m256i numbers = _mm256_add_epi32(_mm256_set1_epi32(first), chosenLanes(mask));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), numbers);
}

}  // namespace
}  // namespace sparq

#define SAMPLING avx2Sampling
#include "sampling_body.inc"
#endif
