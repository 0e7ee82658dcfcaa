// Four floats, NEON with fused multiply-adds: the baseline of aarch64. See simd_scalar.h for what each function means.
#pragma once
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "elements.h"

// Says that the text of the kernels is being compiled for NEON (the portable path is not, though it has the registers too).
#define SPARQ_NEON 1

namespace sparq {
namespace {

using Vec = float32x4_t;
constexpr int kLanes = 4;
constexpr int kRowTile = 4;
constexpr int kRegisters = 32;

inline Vec zeros() { return vdupq_n_f32(0.0f); }
inline Vec splat(float x) { return vdupq_n_f32(x); }
inline Vec load(const float* p) { return vld1q_f32(p); }
inline Vec loadFirst(const float* p, int n) {
  if (n == kLanes) return load(p);
  Vec x = zeros();
  if (n & 2) x = vcombine_f32(vld1_f32(p), vdup_n_f32(0.0f));
  if (n & 1) x = n & 2 ? vld1q_lane_f32(p + 2, x, 2) : vld1q_lane_f32(p, x, 0);
  return x;
}
inline void store(float* p, Vec x) { vst1q_f32(p, x); }
inline void storeFirst(float* p, int n, Vec x) {
  if (n == kLanes) return vst1q_f32(p, x);
  if (n & 2) vst1_f32(p, vget_low_f32(x));
  if (n & 1) n & 2 ? vst1q_lane_f32(p + 2, x, 2) : vst1q_lane_f32(p, x, 0);
}
inline Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
inline Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
inline Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
// The forms that prefer a number to a (quiet) NaN on either side.
inline Vec maxOf(Vec a, Vec b) { return vmaxnmq_f32(a, b); }
inline Vec minOf(Vec a, Vec b) { return vminnmq_f32(a, b); }
inline float firstOf(Vec a) { return vgetq_lane_f32(a, 0); }
inline float sumOf(Vec a) { return vaddvq_f32(a); }
inline float largestOf(Vec a) { return vmaxnmvq_f32(a); }
inline float smallestOf(Vec a) { return vminnmvq_f32(a); }
inline int32x4_t laneNumbers() { return vcombine_s32(vcreate_s32(uint64_t{1} << 32), vcreate_s32(uint64_t{3} << 32 | 2)); }
inline uint32_t atLeastMask(Vec a, Vec b) {
  const uint32x4_t bits = vcombine_u32(vcreate_u32(uint64_t{2} << 32 | 1), vcreate_u32(uint64_t{8} << 32 | 4));
  return vaddvq_u32(vandq_u32(vcgeq_f32(a, b), bits));
}
inline Vec pickGreater(Vec a, Vec b, Vec x, Vec y) { return vbslq_f32(vcgtq_f32(a, b), x, y); }
inline Vec keepLanes(Vec a, int from, int to, Vec other) {
  const int32x4_t lane = laneNumbers();
  return vbslq_f32(vandq_u32(vcgeq_s32(lane, vdupq_n_s32(from)), vcltq_s32(lane, vdupq_n_s32(to))), a, other);
}
inline Vec zeroWhereLess(Vec a, Vec x, Vec limit) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vcgeq_f32(x, limit)));
}
inline Vec roundOf(Vec a) { return vrndnq_f32(a); }
inline Vec absOf(Vec a) { return vabsq_f32(a); }
inline Vec timesPowerOfTwo(Vec a, Vec n) {
  const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
  return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
}

// Four 8-bit elements, twice.
inline uint8x8_t fourBytes(const void* p) {
  uint32_t bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return vreinterpret_u8_u32(vdup_n_u32(bytes));
}
inline uint16x4_t fourShorts(const void* p) { return vld1_u16(static_cast<const uint16_t*>(p)); }
inline Vec fromHalves(uint16x4_t bits) { return vcvt_f32_f16(vreinterpret_f16_u16(bits)); }
inline Vec load(const Half* p) { return fromHalves(fourShorts(p)); }
inline Vec load(const Bf16* p) { return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(fourShorts(p)), 16)); }
inline Vec load(const int8_t* p) {
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(fourBytes(p))))));
}
inline Vec load(const uint8_t* p) { return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(fourBytes(p))))); }
inline Vec load(const Float8* p) {
  const uint16x4_t wide = vget_low_u16(vmovl_u8(fourBytes(p)));
  const uint16x4_t sign = vshl_n_u16(vand_u16(wide, vdup_n_u16(0x80)), 8);
  const uint16x4_t rest = vshl_n_u16(vand_u16(wide, vdup_n_u16(0x7f)), 7);
  return vmulq_f32(fromHalves(vorr_u16(sign, rest)), splat(256.0f));
}
inline void storeAs(float* p, Vec x) { vst1q_f32(p, x); }
inline void storeAs(Half* p, Vec x) {
  vst1_u16(reinterpret_cast<uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(x)));
}
inline void storeAs(Bf16* p, Vec x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x), even = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), even), 16);
  // Rounding up the largest floats would give an infinity; where it did, the mask takes 1 off.
  const uint32x4_t over = vcgeq_u32(vandq_u32(rounded, vdupq_n_u32(0x7fff)), vdupq_n_u32(0x7f80));
  vst1_u16(reinterpret_cast<uint16_t*>(p), vmovn_u32(vaddq_u32(rounded, over)));
}
inline void storeAs(int8_t* p, Vec x) {
  const int16x4_t halves = vmovn_s32(vcvtnq_s32_f32(x));
  const int32x2_t bytes = vreinterpret_s32_s8(vmovn_s16(vcombine_s16(halves, halves)));
  const int32_t four = vget_lane_s32(bytes, 0);
  std::memcpy(p, &four, sizeof four);
}
template <typename T>
inline void storeAs(T* p, Vec x) {
  float lanes[kLanes];
  vst1q_f32(lanes, x);
  for (int i = 0; i < kLanes; i++) fromFloat(lanes[i], p[i]);
}

inline void transpose(Vec* r) {
  const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r[0], r[1])), b = vreinterpretq_f64_f32(vtrn2q_f32(r[0], r[1]));
  const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r[2], r[3])), d = vreinterpretq_f64_f32(vtrn2q_f32(r[2], r[3]));
  r[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
  r[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
  r[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
  r[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
}

inline Vec sumFour(Vec a, Vec b, Vec c, Vec d) { return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)); }
inline Vec joinSums(const Vec* fours) { return fours[0]; }

inline Vec gatherBits(const uint32_t* table, const int32_t* indices) {
  uint32x4_t bits = vdupq_n_u32(table[indices[0]]);
  bits = vld1q_lane_u32(table + indices[1], bits, 1);
  bits = vld1q_lane_u32(table + indices[2], bits, 2);
  bits = vld1q_lane_u32(table + indices[3], bits, 3);
  return vreinterpretq_f32_u32(bits);
}
inline Vec upperBf16(Vec a) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0xffff0000u))); }
inline Vec lowerBf16(Vec a) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a), 16)); }

// For each mask of four lanes the bytes of those that are set, side by side; then 0xff, which picks a zero.
struct LaneBytes {
  uint8_t of[16][16];
  constexpr LaneBytes() : of() {
    for (int mask = 0; mask < 16; mask++) {
      int found = 0;
      for (int lane = 0; lane < 4; lane++) {
        if ((mask >> lane & 1) == 0) continue;
        for (int byte = 0; byte < 4; byte++) of[mask][found++] = static_cast<uint8_t>(4 * lane + byte);
      }
      while (found < 16) of[mask][found++] = 0xff;
    }
  }
};
constexpr LaneBytes kLaneBytes;

// The lanes whose mask bits are set, side by side.
inline uint8x16_t compressed(uint8x16_t x, uint32_t mask) { return vqtbl1q_u8(x, vld1q_u8(kLaneBytes.of[mask])); }
inline void keepMasked(Vec x, uint32_t mask, float* to) {
  vst1q_f32(to, vreinterpretq_f32_u8(compressed(vreinterpretq_u8_f32(x), mask)));
}
inline void keepNumbers(int32_t first, uint32_t mask, int32_t* to) {
  const int32x4_t numbers = vaddq_s32(vdupq_n_s32(first), laneNumbers());
  vst1q_s32(to, vreinterpretq_s32_u8(compressed(vreinterpretq_u8_s32(numbers), mask)));
}

inline int compressAtLeast(Vec x, Vec limit, int32_t first, float* values, int32_t* indices) {
  const uint32_t mask = atLeastMask(x, limit);
  if (mask == 0) return 0;
  keepMasked(x, mask, values);
  keepNumbers(first, mask, indices);
  return __builtin_popcount(mask);
}

}  // namespace
}  // namespace sparq
