// Sixteen floats, AVX-512 F/BW/DQ/VL. See simd_scalar.h for what each function means.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace {

using Vec = __m512;
constexpr int kLanes = 16;
constexpr int kRowTile = 8;
constexpr int kRegisters = 32;

inline __mmask16 firstLanes(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline Vec zeros() { return _mm512_setzero_ps(); }
inline Vec splat(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline Vec loadFirst(const float* p, int n) { return _mm512_maskz_loadu_ps(firstLanes(n), p); }
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
inline void storeFirst(float* p, int n, Vec x) { _mm512_mask_storeu_ps(p, firstLanes(n), x); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec maxOf(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec minOf(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline float sumOf(Vec a) { return _mm512_reduce_add_ps(a); }
inline float largestOf(Vec a) { return _mm512_reduce_max_ps(a); }
inline float smallestOf(Vec a) { return _mm512_reduce_min_ps(a); }
inline float firstOf(Vec a) { return _mm512_cvtss_f32(a); }
inline uint32_t atLeastMask(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
inline Vec keepLanes(Vec a, int from, int to, Vec other) {
  return _mm512_mask_mov_ps(other, static_cast<__mmask16>(firstLanes(to) & ~firstLanes(from)), a);
}
inline Vec zeroWhereLess(Vec a, Vec x, Vec limit) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GE_OQ), a);
}
inline Vec roundNonPositive(Vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vec timesPowerOfTwo(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }

}  // namespace
