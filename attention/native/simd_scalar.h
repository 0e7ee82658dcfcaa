// Four floats in the compilers' portable vector type: SSE2 or NEON registers where the architecture's baseline has them.
// The AVX headers offer the same functions.
#pragma once
#include <cstdint>
#include <cstring>

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
// The first n lanes from memory, 0 <= n < kLanes, the others 0; memory past them is not touched.
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
// Lanes [from, to) of a, the others from `other`; 0 <= from, to <= kLanes.
inline Vec keepLanes(Vec a, int from, int to, Vec other) {
  const IntVec lane{0, 1, 2, 3};
  return ((lane >= from) & (lane < to)) ? a : other;
}
inline Vec zeroWhereLess(Vec a, Vec x, Vec limit) { return x >= limit ? a : zeros(); }
// To the nearest integer, for a <= 0 and above -2^31.
inline Vec roundNonPositive(Vec a) { return __builtin_convertvector(__builtin_convertvector(a - 0.5f, IntVec), Vec); }
// a * 2^n for integral n in [-126, 0].
inline Vec timesPowerOfTwo(Vec a, Vec n) { return a * (Vec)((__builtin_convertvector(n, IntVec) + 127) << 23); }

}  // namespace
