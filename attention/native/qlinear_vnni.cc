// Quantised linears for x86-64 with AVX-512 F, BW, DQ, VL and VNNI; compiled with those flags only (see the Makefile).
#if defined(__x86_64__)
#include <immintrin.h>

#include "qlinear_kernels.h"

namespace sparq {
namespace {

constexpr int kLanes = 16;

// How far ahead of the weights in use memory is asked for. One row is bound by memory, and the hardware's prefetcher
// alone stops at every page. Into the second cache: asking for the first holds up the loads themselves (1.4 times slower).
constexpr int64_t kAhead = 12 * 1024;

inline void prefetch(const uint8_t* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(from + i), _MM_HINT_T1);
}

// Weights [blockSize / 4][16][4] as unsigned bytes.
template <int Bits, int Groups>
inline void loadQuants(const uint8_t* from, __m512i* quants) {
  if constexpr (Bits == 8) {
    for (int j = 0; j < Groups; j++) quants[j] = _mm512_loadu_si512(from + 64 * j);
  } else {
    const __m512i low = _mm512_set1_epi8(15);
    for (int j = 0; j < Groups / 2; j++) {
      const __m512i both = _mm512_loadu_si512(from + 64 * j);
      quants[j] = _mm512_and_si512(both, low);
      quants[j + Groups / 2] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    }
  }
}

template <bool Half>
inline __m512 loadConstants(const uint8_t* from, int index) {
  if constexpr (Half) return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from) + index));
  return _mm512_loadu_ps(from + 64 * index);
}

inline __m512i fourInputs(const int8_t* values) {
  int32_t four;
  __builtin_memcpy(&four, values, sizeof four);
  return _mm512_set1_epi32(four);
}

inline __mmask16 lanesOf(int64_t outputs) {
  return outputs >= kLanes ? __mmask16{0xffff} : static_cast<__mmask16>((1u << outputs) - 1u);
}

// Rows [row, row + Rows) of `Tiles` tiles from `tile` on. `first`: no rows before these met the tiles, so that those that
// follow are to be fetched.
template <int Bits, int BlockSize, int Planes, bool Half, int Rows, int Tiles>
void product(const LinearCall& call, int64_t tile, int64_t row, bool first) {
  constexpr int kGroups = BlockSize / 4;
  const int64_t blocks = call.blocks, rowValues = blocks * Planes * BlockSize;
  const int64_t constantBytes = (Half ? 32 : 64) * (call.hasOffsets ? 2 : 1);
  constexpr int64_t kQuantBytes = 2 * BlockSize * Bits;
  const int64_t step = kQuantBytes + constantBytes;
  const uint8_t* base = call.packed + tile * call.tileBytes;
  const int8_t* values = call.values + row * rowValues;
  const BlockInput* inputs = call.inputs + row * blocks;

  __m512 total[Tiles][Rows];
  for (int t = 0; t < Tiles; t++) {
    const int64_t output = (tile + t) * kLanes;
    const __m512 start =
        call.bias ? _mm512_maskz_loadu_ps(lanesOf(call.outputs - output), call.bias + output) : _mm512_setzero_ps();
    for (int r = 0; r < Rows; r++) total[t][r] = start;
  }
  for (int64_t block = 0; block < blocks; block++) {
    __m512i quants[Tiles][kGroups];
    __m512 scale[Tiles], offset[Tiles];
    for (int t = 0; t < Tiles; t++) {
      const uint8_t* from = base + t * call.tileBytes;
      loadQuants<Bits, kGroups>(from + call.quantsAt + block * kQuantBytes, quants[t]);
      scale[t] = loadConstants<Half>(from + block * constantBytes, 0);
      if (call.hasOffsets) offset[t] = loadConstants<Half>(from + block * constantBytes, 1);
      if (!first) continue;
      // A tile passes by in equal steps, constants included; beyond its end lies the tile after next.
      const int64_t at = block * step + kAhead;
      prefetch(from + at + (at < call.tileBytes ? 0 : (Tiles - 1) * call.tileBytes), step);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; r++) {
      const int8_t* x = values + r * rowValues + block * Planes * BlockSize;
      const BlockInput& in = inputs[r * blocks + block];
      __m512i dot[Tiles];
      for (int t = 0; t < Tiles; t++) dot[t] = Planes == 1 ? _mm512_set1_epi32(in.zero) : _mm512_setzero_si512();
#pragma GCC unroll 8
      for (int j = 0; j < kGroups; j++) {
        const __m512i four = fourInputs(x + 4 * j);
        for (int t = 0; t < Tiles; t++) dot[t] = _mm512_dpbusd_epi32(dot[t], quants[t][j], four);
      }
      if constexpr (Planes == 2) {
        const __m512i zero = _mm512_set1_epi32(in.zero);
        for (int t = 0; t < Tiles; t++) {
          dot[t] = _mm512_sub_epi32(_mm512_slli_epi32(dot[t], 8), _mm512_sub_epi32(dot[t], zero));
        }
#pragma GCC unroll 8
        for (int j = 0; j < kGroups; j++) {
          const __m512i four = fourInputs(x + BlockSize + 4 * j);
          for (int t = 0; t < Tiles; t++) dot[t] = _mm512_dpbusd_epi32(dot[t], quants[t][j], four);
        }
      }
      const __m512 inScale = _mm512_set1_ps(in.scale), sum = _mm512_set1_ps(in.sum);
      for (int t = 0; t < Tiles; t++) {
        total[t][r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t]), _mm512_mul_ps(scale[t], inScale), total[t][r]);
        if (call.hasOffsets) total[t][r] = _mm512_fmadd_ps(offset[t], sum, total[t][r]);
      }
    }
  }
  for (int t = 0; t < Tiles; t++) {
    const int64_t output = (tile + t) * kLanes;
    const __mmask16 lanes = lanesOf(call.outputs - output);
    for (int r = 0; r < Rows; r++) {
      _mm512_mask_storeu_ps(call.out + (row + r) * call.outputs + output, lanes, total[t][r]);
    }
  }
}

// Pairs of tiles share the inputs that they meet; four rows share the weights that they meet: what 32 registers hold.
template <int Bits, int BlockSize, int Planes, bool Half, int Tiles>
void rowsOf(const LinearCall& call, int64_t tile, int64_t rowBegin, int64_t rowEnd) {
  int64_t row = rowBegin;
  for (; row + 4 <= rowEnd; row += 4) product<Bits, BlockSize, Planes, Half, 4, Tiles>(call, tile, row, row == rowBegin);
  for (; row + 2 <= rowEnd; row += 2) product<Bits, BlockSize, Planes, Half, 2, Tiles>(call, tile, row, row == rowBegin);
  if (row < rowEnd) product<Bits, BlockSize, Planes, Half, 1, Tiles>(call, tile, row, row == rowBegin);
}

template <int Bits, int BlockSize, int Planes, bool Half>
void linear(const LinearCall& call, int64_t tileBegin, int64_t tileEnd, int64_t rowBegin, int64_t rowEnd) {
  int64_t tile = tileBegin;
  prefetch(call.packed + tile * call.tileBytes, kAhead);
  if (tile + 1 < tileEnd) prefetch(call.packed + (tile + 1) * call.tileBytes, kAhead);
  for (; tile + 2 <= tileEnd; tile += 2) rowsOf<Bits, BlockSize, Planes, Half, 2>(call, tile, rowBegin, rowEnd);
  if (tile < tileEnd) rowsOf<Bits, BlockSize, Planes, Half, 1>(call, tile, rowBegin, rowEnd);
}

#define LINEAR linearVnni
#include "qlinear_dispatch.inc"
#endif
