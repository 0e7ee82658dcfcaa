// SplitActivations and JoinProducts against their definitions, and bit by bit across paths, threads and rows.
#include "quantised_linear.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace {

using namespace sparq;
using Floats = std::vector<float>;

int failures = 0;

void expect(bool holds, const char* what, double value) {
  if (holds) return;
  std::printf("FAILED: %s (%g)\n", what, value);
  failures++;
}

// Tasks may come in any order; the last first finds what depends on it.
void runBackwards(void*, size_t n, void (*task)(void*, size_t), void* user) {
  for (size_t i = n; i > 0; i--) task(user, i - 1);
}
const Pool pool{nullptr, runBackwards, 1};

bool same(const float* a, const float* b, size_t count) { return std::memcmp(a, b, count * sizeof(float)) == 0; }
bool same(const Floats& a, const Floats& b) { return a.size() == b.size() && same(a.data(), b.data(), a.size()); }

Floats randomFloats(size_t count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Floats out(count);
  for (float& value : out) value = normal(engine);
  return out;
}

struct Halves {
  Floats values, sums;
};

Halves split(Path path, const Floats& input, int64_t rows, int64_t columns, int64_t blockSize) {
  Halves out{Floats(2 * rows * columns), Floats(rows * columns / blockSize)};
  splitActivations(path, input.data(), out.values.data(), out.sums.data(), rows, columns, blockSize, pool);
  return out;
}

void halvesAddUp(int64_t rows, int64_t columns, int64_t blockSize) {
  Floats input = randomFloats(rows * columns, 1);
  input[3] = 1000;                                               // an outlier
  std::fill_n(input.begin() + blockSize, blockSize, 0.0f);       // a block of nothing
  std::fill_n(input.begin() + 2 * blockSize, blockSize, 1e-41f); // one too small to scale
  for (const Path path : availablePaths()) {
    const Halves halves = split(path, input, rows, columns, blockSize);
    const float* first = halves.values.data();
    const float* second = first + rows * columns;
    for (int64_t block = 0; block < rows * columns / blockSize; block++) {
      const float* x = input.data() + block * blockSize;
      double sum = 0, magnitudes = 0;
      float largest = 0;
      for (int64_t i = 0; i < blockSize; i++) {
        sum += x[i], magnitudes += std::abs(x[i]);
        largest = std::max(largest, std::abs(x[i]));
      }
      expect(std::abs(halves.sums[block] - sum) <= 1e-6 * magnitudes, "sum of a block", halves.sums[block] - sum);
      const float step = largest / 127;
      for (int64_t i = block * blockSize; i < (block + 1) * blockSize; i++) {
        expect(first[i] + second[i] == input[i], "halves add up", first[i] + second[i] - input[i]);
        if (largest < 1e-30f) continue;
        const double steps = first[i] / static_cast<double>(step);
        expect(std::abs(steps - std::round(steps)) < 1e-4, "first is a whole number of steps", steps);
        expect(std::abs(steps) < 127.001, "which int8 holds", steps);
        expect(std::abs(second[i]) <= 0.50001f * step, "second is at most half a step", second[i] / step);
      }
    }
  }
}

void rowsAreIndependent() {
  constexpr int64_t rows = 37, columns = 576, blockSize = 32;
  const Floats input = randomFloats(rows * columns, 2);
  const Halves whole = split(Path::Scalar, input, rows, columns, blockSize);
  for (const Path path : availablePaths()) {
    const Halves other = split(path, input, rows, columns, blockSize);
    const bool equal = same(other.values, whole.values) && same(other.sums, whole.sums);
    expect(equal, "split is the same on path", static_cast<int>(path));
    for (int64_t row = 0; row < rows; row++) {
      const float* begin = input.data() + row * columns;
      const Halves alone = split(path, Floats(begin, begin + columns), 1, columns, blockSize);
      for (int64_t half = 0; half < 2; half++) {
        const float* expected = whole.values.data() + (half * rows + row) * columns;
        expect(same(expected, alone.values.data() + half * columns, columns), "row alone", row);
      }
    }
  }
}

void badNumbersStayBad() {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    Floats input = randomFloats(32, 3);
    input[5] = bad;
    for (const Path path : availablePaths()) {
      const Halves halves = split(path, input, 1, 32, 32);
      expect(!std::isfinite(halves.values[5] + halves.values[37]), "not finite", halves.values[5]);
    }
  }
}

Floats join(Path path, const Floats& products, const Floats& sums, const Floats& offsets, int64_t rows,
            int64_t columns) {
  const int64_t blocks = static_cast<int64_t>(sums.size()) / rows;
  Floats out(rows * columns, std::nanf(""));
  joinProducts(path, products.data(), sums.data(), offsets.data(), out.data(), rows, columns, blocks, pool);
  return out;
}

void joins(int64_t rows, int64_t columns, int64_t blocks) {
  const Floats products = randomFloats(2 * rows * columns, 4), sums = randomFloats(rows * blocks, 5);
  const Floats offsets = randomFloats(blocks * columns, 6);
  const Floats reference = join(Path::Scalar, products, sums, offsets, rows, columns);
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t column = 0; column < columns; column++) {
      const int64_t at = row * columns + column;
      double expected = static_cast<double>(products[at]) + products[rows * columns + at];
      for (int64_t block = 0; block < blocks; block++) {
        expected += static_cast<double>(sums[row * blocks + block]) * offsets[block * columns + column];
      }
      expect(std::abs(reference[at] - expected) < 3e-5, "joined", reference[at] - expected);
    }
  }
  for (const Path path : availablePaths()) {
    const Floats other = join(path, products, sums, offsets, rows, columns);
    expect(same(other, reference), "join is the same on path", static_cast<int>(path));
  }
  // Row 0 alone, among fewer tasks.
  Floats alone(products.begin(), products.begin() + columns);
  alone.insert(alone.end(), products.begin() + rows * columns, products.begin() + (rows + 1) * columns);
  const Floats row = join(availablePaths()[0], alone, Floats(sums.begin(), sums.begin() + blocks), offsets, 1, columns);
  expect(same(row.data(), reference.data(), columns), "joined alone", 0);
}

void nothingIsFine() {
  splitActivations(Path::Scalar, nullptr, nullptr, nullptr, 0, 64, 32, pool);
  joinProducts(Path::Scalar, nullptr, nullptr, nullptr, nullptr, 0, 64, 2, pool);
}

}  // namespace

int main() {
  halvesAddUp(3, 96, 32);
  halvesAddUp(70, 256, 16);
  rowsAreIndependent();
  badNumbersStayBad();
  joins(1, 49, 3);
  joins(5, 3072, 18);
  joins(130, 200, 48);
  joins(9, 640, 0);
  nothingIsFine();
  if (failures == 0) std::printf("quantised_linear_test: ok\n");
  return failures == 0 ? 0 : 1;
}
