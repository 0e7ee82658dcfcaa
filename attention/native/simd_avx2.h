// Eight floats, AVX2 and FMA. See simd_scalar.h for what each function means.
#pragma once
#include <immintrin.h>

#include <cstdint>

#include "elements.h"

namespace sparq {
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
inline Vec pickGreater(Vec a, Vec b, Vec x, Vec y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
inline Vec zeroWhereLess(Vec a, Vec x, Vec limit) { return _mm256_and_ps(a, _mm256_cmp_ps(x, limit, _CMP_GE_OQ)); }
inline Vec roundOf(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vec absOf(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline Vec timesPowerOfTwo(Vec a, Vec n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

inline __m128i eightBytes(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
inline Vec load(const Half* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline Vec load(const Bf16* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline Vec load(const int8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eightBytes(p))); }
inline Vec load(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eightBytes(p))); }
inline Vec load(const Float8* p) {
  const __m128i wide = _mm_cvtepu8_epi16(eightBytes(p));
  const __m128i sign = _mm_slli_epi16(_mm_and_si128(wide, _mm_set1_epi16(0x80)), 8);
  const __m128i rest = _mm_slli_epi16(_mm_and_si128(wide, _mm_set1_epi16(0x7f)), 7);
  return _mm256_mul_ps(_mm256_cvtph_ps(_mm_or_si128(sign, rest)), _mm256_set1_ps(256.0f));
}
inline void storeAs(float* p, Vec x) { _mm256_storeu_ps(p, x); }
inline void storeAs(Half* p, Vec x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
template <typename T>
inline void storeAs(T* p, Vec x) {
  alignas(32) float lanes[kLanes];
  _mm256_store_ps(lanes, x);
  for (int i = 0; i < kLanes; i++) fromFloat(lanes[i], p[i]);
}

inline void transpose(Vec* r) {
  Vec t[8], u[8];
  for (int i = 0; i < 4; i++) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; i++) {
    u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}

inline Vec sumFour(Vec a, Vec b, Vec c, Vec d) {
  const __m256d x = _mm256_castps_pd(_mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)));
  const __m256d y = _mm256_castps_pd(_mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d)));
  return _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)), _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
}
inline Vec joinSums(const Vec* fours) {
  return _mm256_add_ps(_mm256_permute2f128_ps(fours[0], fours[1], 0x20), _mm256_permute2f128_ps(fours[0], fours[1], 0x31));
}

inline Vec gatherBits(const uint32_t* table, const int32_t* indices) {
  const __m256i at = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(indices));
  return _mm256_castsi256_ps(_mm256_i32gather_epi32(reinterpret_cast<const int*>(table), at, 4));
}
inline Vec upperBf16(Vec a) { return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000u)))); }
inline Vec lowerBf16(Vec a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 16)); }

inline int compressAtLeast(Vec x, Vec limit, int32_t first, float* values, int32_t* indices) {
  alignas(32) float lanes[kLanes];
  uint32_t mask = atLeastMask(x, limit);
  if (mask == 0) return 0;
  _mm256_store_ps(lanes, x);
  int count = 0;
  for (; mask != 0; mask &= mask - 1) {
    const int lane = __builtin_ctz(mask);
    values[count] = lanes[lane];
    indices[count++] = first + lane;
  }
  return count;
}

}  // namespace
}  // namespace sparq
