#include "swiglu.h"

#include <algorithm>
#include <bit>

namespace sparq {
namespace {

// exp(x) to about 1 unit in the last place: x = n ln 2 + f with |f| <= ln 2 / 2, a polynomial for exp(f), and 2^n by the
// exponent bits. Written without branches and library calls, so that the loop around it vectorises. For |x| <= 88.
[[gnu::always_inline]] inline float expApproximate(float x) {
  constexpr float kLog2e = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float shifted = x * kLog2e + kRound;
  const float n = shifted - kRound;
  const float f = (x - n * kLn2High) - n * kLn2Low;
  // Cephes' expf coefficients.
  float p = 1.9875691500e-4f;
  p = p * f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  return p * std::bit_cast<float>((exponent + 127) << 23);
}

[[gnu::always_inline]] inline void body(const float* gate, const float* up, float* __restrict out,
                                              int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    // silu(-88) is -5e-37, so everything below may count as -88; above 88 exp(-x) is lost beside 1. NaN stays NaN.
    const float x = gate[i] < -88.0f ? -88.0f : gate[i];
    const float y = x > 88.0f ? 88.0f : x;
    out[i] = x / (1.0f + expApproximate(-y)) * up[i];
  }
}

using Kernel = void (*)(const float* gate, const float* up, float* out, int64_t count);

void baseline(const float* gate, const float* up, float* out, int64_t count) { body(gate, up, out, count); }

#if defined(__x86_64__)
[[gnu::target("avx2")]] void avx2(const float* gate, const float* up, float* out, int64_t count) {
  body(gate, up, out, count);
}
#endif

Kernel kernelOf(Path path) {
#if defined(__x86_64__)
  if (hasAvx2(path)) return avx2;
#endif
  (void)path;
  return baseline;
}

// Elements in one task: enough to be worth a thread's while.
constexpr int64_t kTaskElements = 4096;

}  // namespace

void swiglu(Path path, const float* input, float* out, int64_t rows, int64_t width, const Pool& pool) {
  struct Call {
    Kernel kernel;
    const float* input;
    float* out;
    int64_t rows, width, rowsPerTask;
  };
  if (rows == 0 || width == 0) return;
  Call call{kernelOf(path), input, out, rows, width, std::max<int64_t>(1, kTaskElements / width)};
  const auto task = [](void* user, size_t index) {
    const Call& call = *static_cast<const Call*>(user);
    const int64_t begin = static_cast<int64_t>(index) * call.rowsPerTask;
    const int64_t end = std::min(call.rows, begin + call.rowsPerTask);
    for (int64_t row = begin; row < end; row++) {
      const float* gate = call.input + row * 2 * call.width;
      call.kernel(gate, gate + call.width, call.out + row * call.width, call.width);
    }
  };
  const auto tasks = static_cast<size_t>((rows + call.rowsPerTask - 1) / call.rowsPerTask);
  if (tasks == 1) return task(&call, 0);
  pool.run(pool.context, tasks, task, &call);
}

}  // namespace sparq
