// Sampling for x86-64 with AVX-512 F, BW, DQ and VL; compiled with those flags only (see the Makefile).
#if defined(__x86_64__)
#include "simd_avx512.h"

namespace sparq {
namespace {

struct Sum {
  __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
  void add(Vec x) {
    low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
    high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
  }
  double total() const { return _mm512_reduce_add_pd(_mm512_add_pd(low, high)); }
};

// Compressed in a register and stored whole: compressing into memory is slow on AMD.
inline void keepMasked(Vec x, uint32_t mask, float* to) {
  _mm512_storeu_ps(to, _mm512_maskz_compress_ps(static_cast<__mmask16>(mask), x));
}
inline void keepNumbers(int32_t first, uint32_t mask, int32_t* to) {
  const __m512i numbers = _mm512_add_epi32(
      _mm512_set1_epi32(first), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), numbers));
}

}  // namespace
}  // namespace sparq

#define SAMPLING avx512Sampling
#include "sampling_body.inc"
#endif
