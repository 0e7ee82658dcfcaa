// Quantised linears against their definition in double, and bit by bit across paths, rows and threads; nothing beyond the
// packed weights and the inputs may be touched.
#include "qlinear.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
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

// Memory that ends where a page begins that must not be touched.
class Guarded {
 public:
  explicit Guarded(size_t bytes) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t pages = (bytes + page - 1) / page * page;
    size_ = pages + page;
    memory_ = static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory_ == MAP_FAILED || mprotect(memory_ + pages, page, PROT_NONE) != 0) std::abort();
    begin_ = memory_ + pages - bytes;
  }
  ~Guarded() { munmap(memory_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  template <typename T>
  T* as() const { return reinterpret_cast<T*>(begin_); }

 private:
  char* memory_;
  char* begin_;
  size_t size_;
};

uint16_t halfOf(float value) {  // of normal binary16 numbers and zero
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value == 0) return static_cast<uint16_t>(bits >> 16);
  return static_cast<uint16_t>((bits >> 16 & 0x8000u) | (((bits >> 23 & 0xffu) - 112) << 10) | (bits >> 13 & 0x3ffu));
}

// A random matrix, its weights in float and packed.
struct Matrix {
  LinearShape shape;
  Guarded packed;
  Floats weights;  // [outputs][inputs]

  Matrix(const LinearShape& shape, std::mt19937& random) : shape(shape), packed(shape.bytes()), weights() {
    auto* bytes = packed.as<uint8_t>();
    std::memset(bytes, 0, shape.bytes());
    std::uniform_int_distribution<int> quant(0, (1 << shape.bits) - 1);
    std::uniform_real_distribution<float> constant(-1, 1);
    const auto rounded = [&](float x) {
      // As many bits as the constants keep.
      return shape.halfScales ? std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0xffffe000u) : x;
    };
    weights.resize(shape.outputs * shape.inputs);
    for (int64_t n = 0; n < shape.outputs; n++) {
      for (int64_t block = 0; block < shape.blocks(); block++) {
        float scale = rounded(constant(random) * 0.01f);
        float offset = rounded(constant(random) * 0.1f);
        if (std::abs(scale) < 1e-4f) scale = 0x1p-10f;  // halfOf() has no subnormals
        if (std::abs(offset) < 1e-4f) offset = 0;
        store(n, block, 0, scale);
        if (shape.hasOffsets) store(n, block, 1, offset);
        // The extremes come often: they are what could overflow.
        const int extreme = static_cast<int>(random() % 4);
        for (int64_t i = 0; i < shape.blockSize; i++) {
          const int q = extreme == 0 ? 0 : extreme == 1 ? (1 << shape.bits) - 1 : quant(random);
          const int zero = shape.hasOffsets ? 0 : 1 << (shape.bits - 1);
          storeQuant(n, block, i, q);
          float& weight = weights[n * shape.inputs + block * shape.blockSize + i];
          weight = scale * static_cast<float>(q - zero);
          if (shape.hasOffsets) weight += offset;
        }
      }
    }
  }

  void store(int64_t n, int64_t block, int which, float value) {
    uint8_t* at = packed.as<uint8_t>() + n / 16 * shape.tileBytes() + block * shape.blockConstantBytes();
    const int64_t index = 16 * which + n % 16;
    const uint16_t half = halfOf(value);
    if (shape.halfScales) std::memcpy(at + 2 * index, &half, sizeof half);
    else std::memcpy(at + 4 * index, &value, sizeof value);
  }

  void storeQuant(int64_t n, int64_t block, int64_t i, int q) {
    uint8_t* at = packed.as<uint8_t>() + n / 16 * shape.tileBytes() + shape.constantBytes() + block * shape.blockQuantBytes();
    const int64_t stored = shape.blockSize * shape.bits / 32, group = i / 4;
    const bool high = group >= stored;
    at[64 * (high ? group - stored : group) + 4 * (n % 16) + i % 4] |= static_cast<uint8_t>(high ? q << 4 : q);
  }
};

Floats randomInput(size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Floats input(count);
  for (float& value : input) value = normal(random);
  return input;
}

Floats run(Path path, const Matrix& matrix, const float* bias, Activations activations, const Floats& input, int threads = 1) {
  const int64_t rows = static_cast<int64_t>(input.size()) / matrix.shape.inputs;
  const Guarded values(input.size() * sizeof(float)), out(rows * matrix.shape.outputs * sizeof(float));
  std::memcpy(values.as<float>(), input.data(), input.size() * sizeof(float));
  WorkerPool pool(threads);
  qlinear(path, matrix.shape, matrix.packed.as<uint8_t>(), bias, activations, values.as<float>(), out.as<float>(), rows,
          pool.pool());
  return {out.as<float>(), out.as<float>() + rows * matrix.shape.outputs};
}

bool same(const float* a, const float* b, size_t count) { return std::memcmp(a, b, count * sizeof(float)) == 0; }
bool same(const Floats& a, const Floats& b) { return a.size() == b.size() && same(a.data(), b.data(), a.size()); }

// Steps of a block's largest magnitude that inputs are rounded to.
double stepsOf(Activations activations) { return activations == Activations::Int8 ? 127 : 32512; }

void agreesWithDouble(const Matrix& matrix, const Floats& bias, Activations activations, const Floats& input) {
  const LinearShape& shape = matrix.shape;
  const int64_t rows = static_cast<int64_t>(input.size()) / shape.inputs;
  const Floats reference = run(Path::Scalar, matrix, bias.empty() ? nullptr : bias.data(), activations, input);
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t n = 0; n < shape.outputs; n++) {
      double expected = bias.empty() ? 0 : bias[n], rounding = 0, size = std::abs(expected);
      for (int64_t block = 0; block < shape.blocks(); block++) {
        double largest = 0, weightSum = 0;
        for (int64_t i = block * shape.blockSize; i < (block + 1) * shape.blockSize; i++) {
          const double w = matrix.weights[n * shape.inputs + i], x = input[row * shape.inputs + i];
          expected += w * x;
          largest = std::max(largest, std::abs(x));
          weightSum += std::abs(w);
        }
        rounding += largest < 1e-30 ? largest * weightSum : 0.502 * largest / stepsOf(activations) * weightSum;
        // What is summed in f32: unsigned weights can be larger than the weights themselves, by an offset.
        size += largest * (weightSum + shape.blockSize * (shape.hasOffsets ? 0.1 : 0));
      }
      const double error = std::abs(reference[row * shape.outputs + n] - expected);
      expect(error <= rounding + size * 2e-6, "within the rounding of inputs", error / (rounding + size * 2e-6));
    }
  }
}

void sameHowever(const Matrix& matrix, const Floats& bias, Activations activations, const Floats& input) {
  const LinearShape& shape = matrix.shape;
  const int64_t rows = static_cast<int64_t>(input.size()) / shape.inputs;
  const float* biases = bias.empty() ? nullptr : bias.data();
  const Floats reference = run(Path::Scalar, matrix, biases, activations, input);
  for (const Path path : availablePaths()) {
    for (const int threads : {1, 2, 3, 7}) {
      expect(same(run(path, matrix, biases, activations, input, threads), reference), pathName(path), threads);
    }
    for (int64_t row = 0; row < rows; row += std::max<int64_t>(1, rows / 5)) {
      const Floats alone(input.begin() + row * shape.inputs, input.begin() + (row + 1) * shape.inputs);
      const Floats out = run(path, matrix, biases, activations, alone, 2);
      expect(same(out.data(), reference.data() + row * shape.outputs, shape.outputs), "row alone", row);
    }
  }
}

void randomShapes() {
  std::mt19937 random(1);
  const auto any = [&](int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); };
  for (int round = 0; round < 40; round++) {
    const auto blockSize = static_cast<int32_t>(16 * any(1, 2));
    const LinearShape shape{blockSize * any(1, 9), any(1, 70), static_cast<int32_t>(4 * any(1, 2)), blockSize, any(0, 1) == 0,
                            any(0, 1) == 0};
    const Matrix matrix(shape, random);
    const Floats bias = any(0, 1) == 0 ? Floats() : randomInput(shape.outputs, random);
    const Floats input = randomInput(shape.inputs * any(1, 13), random);
    for (const Activations activations : {Activations::Int8, Activations::Int8x2}) {
      agreesWithDouble(matrix, bias, activations, input);
      sameHowever(matrix, bias, activations, input);
    }
  }
}

// More tiles and rows than one task takes.
void manyTasks() {
  std::mt19937 random(2);
  const Matrix wide({64, 16 * 701 + 3, 4, 32, true, true}, random), deep({2048, 40, 8, 32, true, false}, random);
  sameHowever(wide, {}, Activations::Int8x2, randomInput(64 * 3, random));
  sameHowever(deep, {}, Activations::Int8x2, randomInput(2048 * 150, random));
}

void extremes() {
  std::mt19937 random(3);
  for (const int32_t bits : {4, 8}) {
    for (const bool hasOffsets : {false, true}) {
      const Matrix matrix({128, 21, bits, 32, true, hasOffsets}, random);
      for (const Activations activations : {Activations::Int8, Activations::Int8x2}) {
        Floats input(6 * 128, 0.0f);
        for (int i = 0; i < 128; i++) {
          input[128 + i] = i % 2 == 0 ? 1e-41f : -3e-42f;                   // denormal
          input[256 + i] = 1e30f * static_cast<float>(i % 5 - 2);           // huge
          input[384 + i] = i % 32 == 7 ? -1.0f : 0.0f;                      // one of a block
          input[512 + i] = i < 32 ? 1e30f : i < 64 ? 1e-30f : i < 96 ? -0.0f : 1.0f;
          input[640 + i] = i % 3 == 0 ? -5.0f : 5.0f;                       // all at the limit
        }
        agreesWithDouble(matrix, {}, activations, input);
        sameHowever(matrix, {}, activations, input);
        for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
          Floats broken = randomInput(2 * 128, random);
          broken[70] = bad;
          for (const Path path : availablePaths()) {
            const Floats out = run(path, matrix, nullptr, activations, broken);
            for (int n = 0; n < 21; n++) {
              expect(std::isnan(out[n]) && std::isfinite(out[21 + n]), "only the row with it is NaN", out[n]);
            }
          }
        }
      }
    }
  }
}

void looksUpRows() {
  std::mt19937 random(4);
  for (const LinearShape& shape : {LinearShape{96, 35, 4, 32, true, true}, LinearShape{96, 35, 8, 32, true, false},
                                   LinearShape{96, 35, 8, 16, false, false}, LinearShape{96, 35, 4, 16, false, true}}) {
    const Matrix matrix(shape, random);
    const std::vector<int64_t> ids = {34, 0, 16, 15, 16};
    Floats out(ids.size() * 96);
    qembedding(shape, matrix.packed.as<uint8_t>(), ids.data(), out.data(), static_cast<int64_t>(ids.size()));
    for (size_t i = 0; i < ids.size(); i++) {
      expect(same(&out[i * 96], &matrix.weights[ids[i] * 96], 96), "a row of the table, exactly", static_cast<double>(ids[i]));
    }
    for (const int64_t bad : {int64_t{-1}, int64_t{35}}) {
      try {
        qembedding(shape, matrix.packed.as<uint8_t>(), &bad, out.data(), 1);
        expect(false, "an id out of range is refused", static_cast<double>(bad));
      } catch (const std::invalid_argument& error) {
        expect(std::strstr(error.what(), "35 rows") != nullptr, error.what(), 0);
      }
    }
  }
}

void refusesShapes() {
  for (const LinearShape& shape : {LinearShape{64, 8, 5, 32, true, true}, LinearShape{64, 8, 4, 64, true, true},
                                   LinearShape{48, 8, 4, 32, true, true}, LinearShape{0, 8, 4, 32, true, true},
                                   LinearShape{64, 0, 4, 32, true, true}}) {
    try {
      checkShape(shape);
      expect(false, "refused", static_cast<double>(shape.inputs));
    } catch (const std::invalid_argument&) {
    }
  }
}

}  // namespace

int main() {
  randomShapes();
  manyTasks();
  extremes();
  looksUpRows();
  refusesShapes();
  WorkerPool pool(1);
  qlinear(Path::Scalar, {64, 8, 4, 32, true, true}, nullptr, nullptr, Activations::Int8, nullptr, nullptr, 0, pool.pool());
  std::printf(failures ? "qlinear_test: %d failures\n" : "qlinear_test: ok\n", failures);
  return failures ? 1 : 0;
}
