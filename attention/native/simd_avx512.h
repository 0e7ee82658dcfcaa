// Sixteen floats, AVX-512 F/BW/DQ/VL. See simd_scalar.h for what each function means.
#pragma once
#include <immintrin.h>

#include <cstdint>

#include "elements.h"

namespace sparq {
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
inline Vec pickGreater(Vec a, Vec b, Vec x, Vec y) {
  return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), x);
}
inline Vec zeroWhereLess(Vec a, Vec x, Vec limit) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_GE_OQ), a);
}
inline Vec roundOf(Vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Vec absOf(Vec a) { return _mm512_abs_ps(a); }
inline Vec timesPowerOfTwo(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }

inline __m128i sixteenBytes(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m256i sixteenShorts(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline Vec load(const Half* p) { return _mm512_cvtph_ps(sixteenShorts(p)); }
inline Vec load(const Bf16* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(sixteenShorts(p)), 16));
}
inline Vec load(const int8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteenBytes(p))); }
inline Vec load(const uint8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(sixteenBytes(p))); }
inline Vec load(const Float8* p) {
  const __m256i wide = _mm256_cvtepu8_epi16(sixteenBytes(p));
  const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x80)), 8);
  const __m256i rest = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x7f)), 7);
  return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_or_si256(sign, rest)), _mm512_set1_ps(256.0f));
}
inline void storeAs(float* p, Vec x) { _mm512_storeu_ps(p, x); }
inline void storeAs(Half* p, Vec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void storeAs(int8_t* p, Vec x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}
template <typename T>
inline void storeAs(T* p, Vec x) {
  alignas(64) float lanes[kLanes];
  _mm512_store_ps(lanes, x);
  for (int i = 0; i < kLanes; i++) fromFloat(lanes[i], p[i]);
}

inline void transpose(Vec* r) {
  Vec t[16];
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    const __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]);
    const __m512d c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
    r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  // r[4 i + j] has, in its lane of 128 bits l, element 4 l + j of rows 4 i to 4 i + 3.
  for (int j = 0; j < 4; j++) {
    const Vec a = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88), b = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
    const Vec c = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd), d = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
    t[j] = _mm512_shuffle_f32x4(a, b, 0x88);
    t[8 + j] = _mm512_shuffle_f32x4(a, b, 0xdd);
    t[4 + j] = _mm512_shuffle_f32x4(c, d, 0x88);
    t[12 + j] = _mm512_shuffle_f32x4(c, d, 0xdd);
  }
  for (int i = 0; i < 16; i++) r[i] = t[i];
}

inline Vec sumFour(Vec a, Vec b, Vec c, Vec d) {
  const __m512d x = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
  const __m512d y = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}
inline Vec joinSums(const Vec* fours) {
  const Vec x = _mm512_add_ps(_mm512_shuffle_f32x4(fours[0], fours[1], 0x88), _mm512_shuffle_f32x4(fours[0], fours[1], 0xdd));
  const Vec y = _mm512_add_ps(_mm512_shuffle_f32x4(fours[2], fours[3], 0x88), _mm512_shuffle_f32x4(fours[2], fours[3], 0xdd));
  return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd));
}

inline Vec gatherBits(const uint32_t* table, const int32_t* indices) {
  return _mm512_castsi512_ps(_mm512_i32gather_epi32(_mm512_loadu_si512(indices), table, 4));
}
inline Vec upperBf16(Vec a) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
inline Vec lowerBf16(Vec a) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 16)); }

inline int compressAtLeast(Vec x, Vec limit, int32_t first, float* values, int32_t* indices) {
  const __mmask16 mask = _mm512_cmp_ps_mask(x, limit, _CMP_GE_OQ);
  if (mask == 0) return 0;
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  // In a register, then stored whole: a compressing store is slow on some CPUs.
  _mm512_storeu_ps(values, _mm512_maskz_compress_ps(mask, x));
  _mm512_storeu_si512(indices, _mm512_maskz_compress_epi32(mask, _mm512_add_epi32(lanes, _mm512_set1_epi32(first))));
  return __builtin_popcount(mask);
}

}  // namespace
}  // namespace sparq
