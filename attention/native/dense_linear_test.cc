// Linears of plain floats against their definition in double, and bit by bit among rows, tasks and threads; nothing beyond the
// weights and the inputs may be touched.
#include "dense_linear.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "worker_pool.h"

namespace {

using namespace sparq;
using Floats = std::vector<float>;

int failures = 0;

void expect(bool holds, const char* what, double value) {
  if (holds) return;
  std::printf("FAILED: %s (%g)\n", what, value);
  failures++;
}

// Exactly as large as its content, so that AddressSanitizer sees every access beyond.
template <typename T>
std::unique_ptr<T[]> exact(const std::vector<T>& values) {
  std::unique_ptr<T[]> copy(new T[values.size()]);
  std::memcpy(copy.get(), values.data(), values.size() * sizeof(T));
  return copy;
}

struct Matrix {
  DenseShape shape;
  std::vector<uint8_t> bytes;
  Floats weights;  // what the bytes stand for

  template <typename T>
  void fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (float& weight : weights) {
      T element;
      fromFloat(normal(random), element);
      std::memcpy(&bytes[(&weight - weights.data()) * sizeof(T)], &element, sizeof element);
      weight = toFloat(element);
    }
  }

  Matrix(int64_t inputs, int64_t outputs, DType dtype, std::mt19937& random)
      : shape{inputs, outputs, dtype}, bytes(shape.bytes()), weights(inputs * outputs) {
    if (dtype == DType::F32) fill<float>(random);
    else if (dtype == DType::F16) fill<Half>(random);
    else fill<Bf16>(random);
  }
};

Floats randomFloats(size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Floats values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// The matrix is handed over in pieces that begin at `cuts`, each in memory of its own.
Floats run(Path path, const Matrix& matrix, const float* bias, const Floats& input, int threads, std::vector<int64_t> cuts = {0}) {
  const auto rows = static_cast<int64_t>(input.size()) / matrix.shape.inputs;
  cuts.push_back(matrix.shape.outputs);
  std::vector<std::unique_ptr<uint8_t[]>> copies;
  std::vector<DensePiece> pieces;
  for (size_t i = 0; i + 1 < cuts.size(); i++) {
    const auto at = [&](int64_t output) { return matrix.bytes.begin() + DenseShape{matrix.shape.inputs, output, matrix.shape.dtype}.bytes(); };
    copies.push_back(exact(std::vector<uint8_t>(at(cuts[i]), at(cuts[i + 1]))));
    pieces.push_back({copies.back().get(), cuts[i + 1] - cuts[i]});
  }
  const auto values = exact(input);
  Floats out(rows * matrix.shape.outputs);
  WorkerPool pool(threads);
  denseLinear(path, matrix.shape, pieces, bias, values.get(), out.data(), rows, pool.pool());
  return out;
}

void agreesWithDouble(Path path, const Matrix& matrix, const Floats& bias, const Floats& input, const Floats& out) {
  const auto [inputs, outputs, dtype] = matrix.shape;
  double worst = 0;
  for (size_t i = 0; i < out.size(); i++) {
    const float* x = &input[i / outputs * inputs];
    const float* w = &matrix.weights[i % outputs * inputs];
    double sum = bias.empty() ? 0 : bias[i % outputs], size = std::abs(sum);
    for (int64_t k = 0; k < inputs; k++) {
      sum += double(x[k]) * w[k];
      size += std::abs(double(x[k]) * w[k]);
    }
    worst = std::max(worst, std::abs(out[i] - sum) / (size + 1e-30));
  }
  // A sum of m terms is off by m / 2 units at most; partial sums have inputs / lanes, and then as many as there are lanes.
  expect(worst < (double(inputs) / 4 + 20) * 0x1p-24, pathName(path), worst);
}

void anyShape() {
  std::mt19937 random(7);
  for (const Path path : availablePaths()) {
    for (const DType dtype : {DType::F32, DType::F16, DType::BF16}) {
      for (const auto& [inputs, outputs] : {std::pair{1, 1}, {3, 5}, {16, 4}, {17, 9}, {48, 56}, {100, 33}, {1030, 401}}) {
        const Matrix matrix(inputs, outputs, dtype, random);
        const Floats bias = inputs % 2 == 0 ? randomFloats(outputs, random) : Floats();
        const float* biasOrNone = bias.empty() ? nullptr : bias.data();
        const Floats input = randomFloats(11 * inputs, random);
        const Floats whole = run(path, matrix, biasOrNone, input, 1);
        agreesWithDouble(path, matrix, bias, input, whole);
        expect(run(path, matrix, biasOrNone, input, 3) == whole, "three threads differ from one", inputs);
        if (outputs > 4) {
          const Floats pieces = run(path, matrix, biasOrNone, input, 2, {0, 1, outputs / 2, outputs - 1});
          expect(std::memcmp(pieces.data(), whole.data(), whole.size() * sizeof(float)) == 0, "pieces differ from the whole", inputs);
        }
        for (int64_t row = 0; row < 11; row += 5) {
          const Floats alone = run(path, matrix, biasOrNone, {&input[row * inputs], &input[row * inputs] + inputs}, 2);
          expect(std::memcmp(alone.data(), &whole[row * outputs], outputs * sizeof(float)) == 0, "a row alone differs", inputs);
        }
      }
    }
  }
}

// More inputs than stay in the cache at once, so that rows go in several blocks.
void manyRows() {
  std::mt19937 random(8);
  const Matrix matrix(2000, 70, DType::BF16, random);
  const Floats input = randomFloats(75 * 2000, random);
  for (const Path path : availablePaths()) {
    const Floats whole = run(path, matrix, nullptr, input, 2);
    agreesWithDouble(path, matrix, {}, input, whole);
    const Floats last = run(path, matrix, nullptr, {input.end() - 2000, input.end()}, 1);
    expect(std::equal(last.begin(), last.end(), whole.end() - 70), "the last row alone differs", 0);
  }
}

void rowsOfTables() {
  std::mt19937 random(9);
  for (const DType dtype : {DType::F32, DType::F16, DType::BF16}) {
    const Matrix table(19, 6, dtype, random);
    const int64_t ids[] = {5, 0, 5};
    Floats out(3 * 19);
    denseEmbedding(table.shape, table.bytes.data(), ids, out.data(), 3);
    for (int i = 0; i < 3; i++) {
      expect(std::memcmp(&out[i * 19], &table.weights[ids[i] * 19], 19 * sizeof(float)) == 0, "row of a table", double(ids[i]));
    }
    for (const int64_t wrong : {int64_t{-1}, int64_t{6}}) {
      bool refused = false;
      try {
        denseEmbedding(table.shape, table.bytes.data(), &wrong, out.data(), 1);
      } catch (const std::invalid_argument&) {
        refused = true;
      }
      expect(refused, "an id that is no row", double(wrong));
    }
  }
}

}  // namespace

int main() {
  anyShape();
  manyRows();
  rowsOfTables();
  if (failures > 0) return 1;
  std::printf("dense_linear_test: ok\n");
}
