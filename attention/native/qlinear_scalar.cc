// Quantised linears in portable C++: for any CPU, and what the other kernels are checked against, bit by bit.
#include <cmath>
#include <cstring>

#include "qlinear_kernels.h"

namespace sparq {
namespace {

constexpr int kLanes = 16;

// IEEE binary16; exact, subnormals included.
float halfToFloat(uint16_t bits) {
  const uint32_t exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
  float magnitude;
  if (exponent == 31) magnitude = fraction != 0 ? NAN : INFINITY;
  else if (exponent == 0) magnitude = static_cast<float>(fraction) * 0x1p-24f;
  else magnitude = std::ldexp(static_cast<float>(fraction | 0x400u), static_cast<int>(exponent) - 25);
  return (bits & 0x8000u) != 0 ? -magnitude : magnitude;
}

void loadConstants(const LinearCall& call, const uint8_t* from, float* to) {
  if (!call.halfScales) return static_cast<void>(std::memcpy(to, from, kLanes * sizeof(float)));
  uint16_t halves[kLanes];
  std::memcpy(halves, from, sizeof halves);
  for (int lane = 0; lane < kLanes; lane++) to[lane] = halfToFloat(halves[lane]);
}

// Adds q * v of one plane to dot[16].
void addProducts(const LinearCall& call, const uint8_t* quants, const int8_t* values, int32_t* dot) {
  const int groups = call.blockSize / 4, stored = groups * call.bits / 8;
  for (int j = 0; j < groups; j++) {
    const bool high = j >= stored;
    const uint8_t* from = quants + 64 * (high ? j - stored : j);
    for (int lane = 0; lane < kLanes; lane++) {
      for (int i = 0; i < 4; i++) {
        const int byte = from[4 * lane + i];
        dot[lane] += (call.bits == 8 ? byte : high ? byte >> 4 : byte & 15) * values[4 * j + i];
      }
    }
  }
}

void product(const LinearCall& call, int64_t tile, int64_t row) {
  const int64_t first = tile * kLanes, lanes = call.outputs - first < kLanes ? call.outputs - first : kLanes;
  const int64_t constantBytes = (call.halfScales ? 2 : 4) * kLanes, quantBytes = int64_t{2} * call.blockSize * call.bits;
  const uint8_t* constants = call.packed + tile * call.tileBytes;
  const uint8_t* quants = constants + call.quantsAt;
  float total[kLanes] = {}, scales[kLanes], offsets[kLanes];
  for (int64_t lane = 0; lane < lanes; lane++) total[lane] = call.bias != nullptr ? call.bias[first + lane] : 0.0f;
  for (int64_t block = 0; block < call.blocks; block++) {
    loadConstants(call, constants, scales);
    constants += constantBytes;
    if (call.hasOffsets) {
      loadConstants(call, constants, offsets);
      constants += constantBytes;
    }
    const BlockInput& in = call.inputs[row * call.blocks + block];
    const int8_t* values = call.values + (row * call.blocks + block) * call.planes * call.blockSize;
    int32_t dot[kLanes] = {};
    addProducts(call, quants, values, dot);
    if (call.planes == 2) {
      for (int32_t& sum : dot) sum *= kPlaneBase;
      addProducts(call, quants, values + call.blockSize, dot);
    }
    for (int lane = 0; lane < kLanes; lane++) {
      total[lane] = std::fma(static_cast<float>(dot[lane] + in.zero), scales[lane] * in.scale, total[lane]);
      if (call.hasOffsets) total[lane] = std::fma(offsets[lane], in.sum, total[lane]);
    }
    quants += quantBytes;
  }
  std::memcpy(call.out + row * call.outputs + first, total, lanes * sizeof(float));
}

}  // namespace

void linearScalar(const LinearCall& call, int64_t tileBegin, int64_t tileEnd, int64_t rowBegin, int64_t rowEnd) {
  for (int64_t tile = tileBegin; tile < tileEnd; tile++) {
    for (int64_t row = rowBegin; row < rowEnd; row++) product(call, tile, row);
  }
}

}  // namespace sparq
