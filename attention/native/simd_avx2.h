// Eight floats, AVX2 and FMA. See simd_scalar.h for what each function means.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace {

using Vec = __m256;
constexpr int kLanes = 8;
constexpr int kRowTile = 4;
constexpr int kRegisters = 16;

inline __m256i laneNumbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
inline __m256i firstLanes(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), laneNumbers()); }

inline Vec zeros() { return _mm256_setzero_ps(); }
inline Vec splat(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline Vec loadFirst(const float* p, int n) { return _mm256_maskload_ps(p, firstLanes(n)); }
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
inline void storeFirst(float* p, int n, Vec x) { _mm256_maskstore_ps(p, firstLanes(n), x); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec maxOf(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec minOf(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline float firstOf(Vec a) { return _mm256_cvtss_f32(a); }
inline float sumOf(Vec a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float largestOf(Vec a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
inline float smallestOf(Vec a) {
  __m128 x = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_min_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_min_ss(x, _mm_movehdup_ps(x)));
}
inline uint32_t atLeastMask(Vec a, Vec b) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)));
}
inline Vec keepLanes(Vec a, int from, int to, Vec other) {
  const __m256i kept = _mm256_andnot_si256(firstLanes(from), firstLanes(to));
  return _mm256_blendv_ps(other, a, _mm256_castsi256_ps(kept));
}
inline Vec zeroWhereLess(Vec a, Vec x, Vec limit) { return _mm256_and_ps(a, _mm256_cmp_ps(x, limit, _CMP_GE_OQ)); }
inline Vec roundNonPositive(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vec timesPowerOfTwo(Vec a, Vec n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

}  // namespace
