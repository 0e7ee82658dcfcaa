// Quantised linears for x86-64 with AVX2, FMA and F16C; compiled with those flags only (see the Makefile).
#if defined(__x86_64__)
#include <immintrin.h>

#include "qlinear_kernels.h"

namespace sparq {
namespace {

constexpr int kLanes = 16;
constexpr int kHalves = 2;  // a tile is two vectors of eight outputs

// As in qlinear_vnni.cc.
constexpr int64_t kAhead = 12 * 1024;

template <bool Half>
inline __m256 loadConstants(const uint8_t* from, int half) {
  if constexpr (Half) return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + half));
  return _mm256_loadu_ps(reinterpret_cast<const float*>(from) + 8 * half);
}

inline __m256i loadBytes(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

inline __m256i fourInputs(const int8_t* values) {
  int32_t four;
  __builtin_memcpy(&four, values, sizeof four);
  return _mm256_set1_epi32(four);
}

// The sum of q * v over a block, for eight outputs and `Rows` rows. `values` of row r are at values + r * rowValues.
//
// 4 bits: pairs of products are at most 2 * 15 * 127 = 3810 in int16, and eight of them fit as well.
// 8 bits: unsigned bytes would overflow int16 (2 * 255 * 127), so |q - 128| meets v with q - 128's sign: at most
// 2 * 128 * 127 = 32512. That leaves -128 * sum(v) done already.
template <int Bits, int BlockSize, int Rows>
inline void dots(const uint8_t* quants, const int8_t* values, int64_t rowValues, __m256i* dot) {
  constexpr int kGroups = BlockSize / 4;
  const __m256i ones = _mm256_set1_epi16(1);
  if constexpr (Bits == 4) {
    const __m256i low = _mm256_set1_epi8(15);
    __m256i pairs[Rows];
    for (int r = 0; r < Rows; r++) pairs[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int j = 0; j < kGroups / 2; j++) {
      const __m256i both = loadBytes(quants + 64 * j);
      const __m256i first = _mm256_and_si256(both, low), second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; r++) {
        const int8_t* x = values + r * rowValues + 4 * j;
        pairs[r] = _mm256_add_epi16(pairs[r], _mm256_maddubs_epi16(first, fourInputs(x)));
        pairs[r] = _mm256_add_epi16(pairs[r], _mm256_maddubs_epi16(second, fourInputs(x + 2 * kGroups)));
      }
    }
    for (int r = 0; r < Rows; r++) dot[r] = _mm256_madd_epi16(pairs[r], ones);
  } else {
    const __m256i zero = _mm256_set1_epi8(-128);
    for (int r = 0; r < Rows; r++) dot[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = 0; j < kGroups; j++) {
      const __m256i weights = _mm256_xor_si256(loadBytes(quants + 64 * j), zero);
      const __m256i magnitudes = _mm256_abs_epi8(weights);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; r++) {
        const __m256i x = _mm256_sign_epi8(fourInputs(values + r * rowValues + 4 * j), weights);
        dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, x), ones));
      }
    }
  }
}

// Rows [row, row + Rows) of one tile, eight outputs after eight. `first`: no rows before these met the tile, so that what
// follows it is to be fetched.
template <int Bits, int BlockSize, int Planes, bool Half, int Rows>
void product(const LinearCall& call, int64_t tile, int64_t row, bool first) {
  const int64_t blocks = call.blocks, rowValues = blocks * Planes * BlockSize;
  const int64_t constantBytes = (Half ? 32 : 64) * (call.hasOffsets ? 2 : 1);
  constexpr int64_t kQuantBytes = 2 * BlockSize * Bits;
  const uint8_t* base = call.packed + tile * call.tileBytes;
  const int64_t output = tile * kLanes, lanes = call.outputs - output < kLanes ? call.outputs - output : kLanes;

  alignas(32) float result[Rows][kLanes] = {};
  if (call.bias != nullptr) {
    for (int r = 0; r < Rows; r++) __builtin_memcpy(result[r], call.bias + output, lanes * sizeof(float));
  }
  __m256 total[Rows][kHalves];
  for (int r = 0; r < Rows; r++) {
    for (int half = 0; half < kHalves; half++) total[r][half] = _mm256_load_ps(result[r] + 8 * half);
  }
  for (int64_t block = 0; block < blocks; block++) {
    const uint8_t* constants = base + block * constantBytes;
    const uint8_t* quants = base + call.quantsAt + block * kQuantBytes;
    const int8_t* values = call.values + (row * blocks + block) * Planes * BlockSize;
    const BlockInput* inputs = call.inputs + row * blocks + block;
    const int64_t step = kQuantBytes + constantBytes;
    const char* ahead = reinterpret_cast<const char*>(base + block * step + kAhead);
    for (int64_t i = 0; first && i < step; i += 64) _mm_prefetch(ahead + i, _MM_HINT_T1);
    for (int half = 0; half < kHalves; half++) {
      __m256i dot[Rows];
      dots<Bits, BlockSize, Rows>(quants + 32 * half, values, rowValues, dot);
      if constexpr (Planes == 2) {
        __m256i low[Rows];
        dots<Bits, BlockSize, Rows>(quants + 32 * half, values + BlockSize, rowValues, low);
        for (int r = 0; r < Rows; r++) {
          dot[r] = _mm256_add_epi32(_mm256_sub_epi32(_mm256_slli_epi32(dot[r], 8), dot[r]), low[r]);
        }
      }
      const __m256 scale = loadConstants<Half>(constants, half);
      for (int r = 0; r < Rows; r++) {
        const BlockInput& in = inputs[r * blocks];
        // With 4 bits q is unsigned here. With 8 bits its zero of 128 is gone; offsets want it back, for theirs is 0.
        if constexpr (Bits == 4) dot[r] = _mm256_add_epi32(dot[r], _mm256_set1_epi32(in.zero));
        else dot[r] = _mm256_add_epi32(dot[r], _mm256_set1_epi32(in.zero + 128 * in.valueSum));
        total[r][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r]), _mm256_mul_ps(scale, _mm256_set1_ps(in.scale)),
                                         total[r][half]);
      }
      if (!call.hasOffsets) continue;
      const __m256 offset = loadConstants<Half>(constants + constantBytes / 2, half);
      for (int r = 0; r < Rows; r++) {
        total[r][half] = _mm256_fmadd_ps(offset, _mm256_set1_ps(inputs[r * blocks].sum), total[r][half]);
      }
    }
  }
  for (int r = 0; r < Rows; r++) {
    for (int half = 0; half < kHalves; half++) _mm256_store_ps(result[r] + 8 * half, total[r][half]);
    __builtin_memcpy(call.out + (row + r) * call.outputs + output, result[r], lanes * sizeof(float));
  }
}

#include "qlinear_rows.inc"
#define LINEAR linearAvx2
#include "qlinear_dispatch.inc"
#endif
