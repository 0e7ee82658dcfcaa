// Element types of the KV cache. Free of the standard library: the per-ISA files include it (see kernels.h).
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sparq {

// How keys and values are stored. I8 and F8 (e4m3: sign, 4 bits of exponent, 3 of mantissa, no infinities) have one f32
// scale for each token's row. F16 and BF16 are clamped to their finite range.
enum class DType : int32_t { F32 = 0, F16 = 1, BF16 = 2, I8 = 3, F8 = 4 };

constexpr size_t elementBytes(DType type) {
  return type == DType::F32 ? 4 : type == DType::F16 || type == DType::BF16 ? 2 : 1;
}
// Whether a row of the type has a scale.
constexpr bool hasScale(DType type) { return type == DType::I8 || type == DType::F8; }

namespace {

struct Half {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};
struct Float8 {
  uint8_t bits;
};

inline uint32_t bitsOf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float floatFrom(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// One element from or to float, to the nearest, ties to even; x is within the type's range.
inline float toFloat(float x) { return x; }
inline float toFloat(Bf16 x) { return floatFrom(uint32_t{x.bits} << 16); }
inline float toFloat(int8_t x) { return x; }
inline float toFloat(Half x) {
  // The exponent's bias differs by 112; this holds for subnormals too.
  const float magnitude = floatFrom((x.bits & 0x7fffu) << 13) * 0x1p112f;
  return floatFrom(bitsOf(magnitude) | (x.bits & 0x8000u) << 16);
}
inline float toFloat(Float8 x) {
  return toFloat(Half{static_cast<uint16_t>((x.bits & 0x80u) << 8 | (x.bits & 0x7fu) << 7)}) * 256.0f;
}

inline void fromFloat(float x, float& to) { to = x; }
inline void fromFloat(float x, Bf16& to) {
  const uint32_t bits = bitsOf(x), rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
  // Rounding up the largest floats would give an infinity.
  to.bits = static_cast<uint16_t>((rounded & 0x7fffu) < 0x7f80u ? rounded : rounded - 1);
}
inline void fromFloat(float x, Half& to) {
  const uint32_t sign = bitsOf(x) >> 16 & 0x8000u;
  const float magnitude = x < 0 ? -x : x;
  if (magnitude < 0x1p-14f) {
    to.bits = static_cast<uint16_t>(sign | static_cast<uint32_t>(__builtin_rintf(magnitude * 0x1p24f)));
    return;
  }
  const uint32_t bits = bitsOf(magnitude) - (112u << 23);
  to.bits = static_cast<uint16_t>(sign | (bits + 0xfffu + (bits >> 13 & 1)) >> 13);
}
inline void fromFloat(float x, Float8& to) {
  const uint32_t sign = bitsOf(x) >> 24 & 0x80u;
  const float magnitude = x < 0 ? -x : x;
  if (magnitude < 0x1p-6f) {
    to.bits = static_cast<uint8_t>(sign | static_cast<uint32_t>(__builtin_rintf(magnitude * 512.0f)));
    return;
  }
  const uint32_t bits = bitsOf(magnitude) - (120u << 23), rounded = (bits + 0x7ffffu + (bits >> 20 & 1)) >> 20;
  to.bits = static_cast<uint8_t>(sign | (rounded < 0x7eu ? rounded : 0x7eu));
}
inline void fromFloat(float x, int8_t& to) { to = static_cast<int8_t>(__builtin_rintf(x)); }

// The largest magnitude that a type holds; rows of scaled types are scaled to it.
inline float elementLimit(const float*) { return 3.4028235e38f; }
inline float elementLimit(const Half*) { return 65504.0f; }
inline float elementLimit(const Bf16*) { return 3.3895314e38f; }
inline float elementLimit(const int8_t*) { return 127.0f; }
inline float elementLimit(const Float8*) { return 448.0f; }

// Calls body with a null pointer of the element's type.
template <typename Body>
inline void withElement(DType type, Body body) {
  switch (type) {
    case DType::F32: return body(static_cast<const float*>(nullptr));
    case DType::F16: return body(static_cast<const Half*>(nullptr));
    case DType::BF16: return body(static_cast<const Bf16*>(nullptr));
    case DType::I8: return body(static_cast<const int8_t*>(nullptr));
    case DType::F8: return body(static_cast<const Float8*>(nullptr));
  }
}

}  // namespace
}  // namespace sparq
