// SwiGLU against double precision, and bit by bit across paths and cuts.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

#include "swiglu.h"

namespace {

using namespace sparq;

int failures = 0;

void expect(bool holds, const char* what, double value) {
  if (holds) return;
  std::printf("FAILED: %s (%g)\n", what, value);
  failures++;
}

void runInOrder(void*, size_t n, void (*task)(void*, size_t), void* user) {
  for (size_t i = 0; i < n; i++) task(user, i);
}
const Pool pool{nullptr, runInOrder, 1};

double siluTimes(double gate, double up) { return gate / (1 + std::exp(-gate)) * up; }

std::vector<float> run(Path path, const std::vector<float>& input, int64_t rows, int64_t width) {
  std::vector<float> out(rows * width);
  swiglu(path, input.data(), out.data(), rows, width, pool);
  return out;
}

void agreesWithDouble() {
  constexpr int64_t width = 20001;
  std::vector<float> input(2 * width);
  for (int64_t i = 0; i < width; i++) {
    input[i] = -100.0f + 200.0f * static_cast<float>(i) / (width - 1);
    input[width + i] = 0.5f + static_cast<float>(i % 7);
  }
  for (const Path path : availablePaths()) {
    const std::vector<float> out = run(path, input, 1, width);
    double worst = 0;
    for (int64_t i = 0; i < width; i++) {
      const double expected = siluTimes(input[i], input[width + i]);
      // Below -88 the true value is next to nothing, and only the absolute error matters.
      worst = std::max(worst, std::abs(out[i] - expected) / (std::abs(expected) + 1e-28));
    }
    expect(worst < 4e-7, "relative error", worst);
  }
}

void extremesStayDefined() {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const float largest = std::numeric_limits<float>::max();
  const std::vector<float> input = {largest, -largest, 0.0f, -0.0f, infinity, std::nanf(""), 1, 1, 1, 1, 1, 1};
  for (const Path path : availablePaths()) {
    const std::vector<float> out = run(path, input, 1, 6);
    expect(out[0] == largest, "silu of the largest float", out[0]);
    expect(std::abs(out[1]) < 1e-36, "silu of the least float", out[1]);
    expect(out[2] == 0 && out[3] == 0, "silu of zero", out[2]);
    expect(out[4] == infinity, "silu of infinity", out[4]);
    expect(std::isnan(out[5]), "silu of NaN", out[5]);
  }
}

// Every row alone, on the scalar path, must give the bits of all rows together on any path.
void sameBitsHoweverCut() {
  for (const int64_t width : {1, 3, 8, 31, 192, 5000}) {
    constexpr int64_t rows = 9;
    std::vector<float> input(rows * 2 * width);
    for (size_t i = 0; i < input.size(); i++) input[i] = 9 * std::sin(static_cast<float>(i * i % 1009));
    std::vector<float> alone;
    for (int64_t row = 0; row < rows; row++) {
      const std::vector<float> one(input.begin() + row * 2 * width, input.begin() + (row + 1) * 2 * width);
      const std::vector<float> out = run(Path::Scalar, one, 1, width);
      alone.insert(alone.end(), out.begin(), out.end());
    }
    for (const Path path : availablePaths()) {
      const std::vector<float> together = run(path, input, rows, width);
      expect(std::memcmp(alone.data(), together.data(), alone.size() * sizeof(float)) == 0, "same bits", width);
    }
  }
}

}  // namespace

int main() {
  agreesWithDouble();
  extremesStayDefined();
  sameBitsHoweverCut();
  std::printf(failures ? "swiglu_test: %d failures\n" : "swiglu_test: ok\n", failures);
  return failures ? 1 : 0;
}
