// Four floats in the compilers' portable vector type: SSE2 or NEON registers where the architecture's baseline has them.
// The AVX headers offer the same functions.
#pragma once
#include <cstdint>
#include <cstring>

#include "elements.h"

namespace sparq {
namespace {

typedef float Vec __attribute__((vector_size(16)));
typedef int32_t IntVec __attribute__((vector_size(16)));
constexpr int kLanes = 4;
constexpr int kRowTile = 4;  // query vectors that a tile kernel holds in registers, at most
constexpr int kRegisters = 16;

inline Vec zeros() { return Vec{0, 0, 0, 0}; }
inline Vec splat(float x) { return Vec{x, x, x, x}; }
inline Vec load(const float* p) {
  Vec x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline void store(float* p, Vec x) { std::memcpy(p, &x, sizeof x); }
// The first n lanes from memory, 0 <= n <= kLanes, the others 0; memory past them is not touched.
inline Vec loadFirst(const float* p, int n) {
  Vec x = zeros();
  for (int i = 0; i < n; i++) x[i] = p[i];
  return x;
}
inline void storeFirst(float* p, int n, Vec x) {
  for (int i = 0; i < n; i++) p[i] = x[i];
}
inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec sub(Vec a, Vec b) { return a - b; }
inline Vec mul(Vec a, Vec b) { return a * b; }
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }  // fused where the path has it
// Both give b when a is not a number.
inline Vec maxOf(Vec a, Vec b) { return a > b ? a : b; }
inline Vec minOf(Vec a, Vec b) { return a < b ? a : b; }
inline float firstOf(Vec a) { return a[0]; }
inline float sumOf(Vec a) { return (a[0] + a[2]) + (a[1] + a[3]); }
inline float largestOf(Vec a) {
  const float x = a[0] > a[2] ? a[0] : a[2], y = a[1] > a[3] ? a[1] : a[3];
  return x > y ? x : y;
}
inline float smallestOf(Vec a) {
  const float x = a[0] < a[2] ? a[0] : a[2], y = a[1] < a[3] ? a[1] : a[3];
  return x < y ? x : y;
}
// Bit i: a[i] >= b[i].
inline uint32_t atLeastMask(Vec a, Vec b) {
  const IntVec m = (a >= b) & IntVec{1, 2, 4, 8};
  return static_cast<uint32_t>((m[0] | m[2]) | (m[1] | m[3]));
}
// a > b ? x : y, lane by lane.
inline Vec pickGreater(Vec a, Vec b, Vec x, Vec y) { return a > b ? x : y; }
// Lanes [from, to) of a, the others from `other`; 0 <= from, to <= kLanes.
inline Vec keepLanes(Vec a, int from, int to, Vec other) {
  const IntVec lane{0, 1, 2, 3};
  return ((lane >= from) & (lane < to)) ? a : other;
}
inline Vec zeroWhereLess(Vec a, Vec x, Vec limit) { return x >= limit ? a : zeros(); }
// To the nearest integer, ties to even, for |a| < 2^22.
inline Vec roundOf(Vec a) { return (a + 12582912.0f) - 12582912.0f; }
inline Vec absOf(Vec a) { return (Vec)((IntVec)a & 0x7fffffff); }
// a * 2^n for integral n in [-126, 127].
inline Vec timesPowerOfTwo(Vec a, Vec n) { return a * (Vec)((__builtin_convertvector(n, IntVec) + 127) << 23); }

// kLanes elements as floats, and back (see elements.h); 8-bit integers take integral lanes.
template <typename T>
inline Vec load(const T* p) {
  return Vec{toFloat(p[0]), toFloat(p[1]), toFloat(p[2]), toFloat(p[3])};
}
inline Vec load(const uint8_t* p) { return Vec{float(p[0]), float(p[1]), float(p[2]), float(p[3])}; }
template <typename T>
inline void storeAs(T* p, Vec x) {
  for (int i = 0; i < kLanes; i++) fromFloat(x[i], p[i]);
}

// rows[i] lane j becomes rows[j] lane i.
inline void transpose(Vec* rows) {
  Vec turned[kLanes];
  for (int i = 0; i < kLanes; i++) turned[i] = Vec{rows[0][i], rows[1][i], rows[2][i], rows[3][i]};
  for (int i = 0; i < kLanes; i++) rows[i] = turned[i];
}

// The four lanes' sums of a, b, c and d: in each group of four lanes, of what the group has of them.
inline Vec sumFour(Vec a, Vec b, Vec c, Vec d) { return Vec{sumOf(a), sumOf(b), sumOf(c), sumOf(d)}; }
// sumFour of vectors 0 to 3, 4 to 7 and so on, to the sums of all: lane i is that of vector i.
inline Vec joinSums(const Vec* fours) { return fours[0]; }

// table[indices[i]] as bits; the floats that are the upper and the lower 16 bits of each lane.
inline Vec gatherBits(const uint32_t* table, const int32_t* indices) {
  return Vec{floatFrom(table[indices[0]]), floatFrom(table[indices[1]]), floatFrom(table[indices[2]]), floatFrom(table[indices[3]])};
}
inline Vec upperBf16(Vec a) { return (Vec)((IntVec)a & static_cast<int32_t>(0xffff0000u)); }
inline Vec lowerBf16(Vec a) { return (Vec)((IntVec)a << 16); }

// Appends the lanes of x that are at least `limit` to `values` and their numbers, counted from `first`, to `indices`; both
// have room for kLanes. Returns how many there are.
inline int compressAtLeast(Vec x, Vec limit, int32_t first, float* values, int32_t* indices) {
  int count = 0;
  for (uint32_t mask = atLeastMask(x, limit); mask != 0; mask &= mask - 1) {
    const int lane = __builtin_ctz(mask);
    values[count] = x[lane];
    indices[count++] = first + lane;
  }
  return count;
}

}  // namespace
}  // namespace sparq
