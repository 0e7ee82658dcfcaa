#include "qlinear.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.h"
#include "qlinear_kernels.h"

namespace sparq {
namespace {

constexpr int32_t kInfinityBits = 0x7f800000, kNanBits = 0x7fc00000;

// Blocks of smaller inputs count as zeros: the reciprocal of their scale would not be finite.
constexpr float kSmallest = 1e-30f;

struct Rounding {
  const float* input;
  int8_t* values;
  BlockInput* inputs;
  int64_t rows, blocks, rowsPerTask;
  int32_t zero;  // of the weights
};

// One block to int8 planes. Written so that its loops vectorise: no branches in them, sums in integers only.
template <int Planes, int BlockSize>
[[gnu::always_inline]] inline void roundBlock(const float* x, int8_t* __restrict values, BlockInput& in, int32_t zero) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
  constexpr int32_t kLimit = Planes == 2 ? 127 * kPlaneBase + 127 : 127;
  // Magnitudes order like their bits, and NaN comes above infinity.
  int32_t bits = 0;
  for (int i = 0; i < BlockSize; i++) bits = std::max(bits, std::bit_cast<int32_t>(x[i]) & 0x7fffffff);
  const float largest = std::bit_cast<float>(bits);
  const bool finite = bits < kInfinityBits;
  const bool usable = finite && largest >= kSmallest;
  const float reciprocal = usable ? kLimit / largest : 0.0f;
  int32_t sum = 0;
  if (!usable) {
    std::memset(values, 0, Planes * BlockSize);
  } else {
    for (int i = 0; i < BlockSize; i++) {
      const float rounded = (x[i] * reciprocal + kRound) - kRound;
      sum += static_cast<int32_t>(rounded);
      if constexpr (Planes == 2) {
        const float high = (rounded * (1.0f / kPlaneBase) + kRound) - kRound;
        values[i] = static_cast<int8_t>(static_cast<int32_t>(high));
        values[BlockSize + i] = static_cast<int8_t>(static_cast<int32_t>(rounded - high * kPlaneBase));
      } else {
        values[i] = static_cast<int8_t>(static_cast<int32_t>(rounded));
      }
    }
  }
  in.scale = finite ? (usable ? largest / kLimit : 0.0f) : std::bit_cast<float>(kNanBits);
  in.sum = in.scale * static_cast<float>(sum);
  in.valueSum = sum;
  in.zero = -zero * sum;
}

template <int Planes, int BlockSize>
[[gnu::always_inline]] inline void roundTask(void* user, size_t index) {
  const Rounding& call = *static_cast<const Rounding*>(user);
  const int64_t begin = static_cast<int64_t>(index) * call.rowsPerTask * call.blocks;
  const int64_t end = std::min(call.rows * call.blocks, begin + call.rowsPerTask * call.blocks);
  for (int64_t block = begin; block < end; block++) {
    roundBlock<Planes, BlockSize>(call.input + block * BlockSize, call.values + block * Planes * BlockSize,
                                  call.inputs[block], call.zero);
  }
}

using Task = void (*)(void* user, size_t index);

template <int Planes, int BlockSize>
void roundBaseline(void* user, size_t index) { roundTask<Planes, BlockSize>(user, index); }

#if defined(__x86_64__)
template <int Planes, int BlockSize>
[[gnu::target("avx2")]] void roundAvx2(void* user, size_t index) { roundTask<Planes, BlockSize>(user, index); }
#endif

template <int Planes, int BlockSize>
Task rounderOf([[maybe_unused]] Path path) {
#if defined(__x86_64__)
  if (hasAvx2(path)) return roundAvx2<Planes, BlockSize>;
#endif
  return roundBaseline<Planes, BlockSize>;
}

Task rounderOf(Path path, Activations activations, int32_t blockSize) {
  if (activations == Activations::Int8x2) return blockSize == 32 ? rounderOf<2, 32>(path) : rounderOf<2, 16>(path);
  return blockSize == 32 ? rounderOf<1, 32>(path) : rounderOf<1, 16>(path);
}

LinearKernel kernelOf([[maybe_unused]] Path path) {
#if defined(__x86_64__)
  if (path == Path::Avx512Vnni) return linearVnni;
  if (hasAvx2(path)) return linearAvx2;
#elif defined(__aarch64__)
  if (path == Path::NeonDot) return linearNeonDot;
  if (path == Path::Neon) return linearNeon;
#endif
  return linearScalar;
}

int64_t divideUp(int64_t value, int64_t by) { return (value + by - 1) / by; }
int64_t roundUp(int64_t value, int64_t to) { return divideUp(value, to) * to; }

void run(const Pool& pool, int64_t tasks, Task task, void* call) {
  if (tasks == 1) return task(call, 0);
  pool.run(pool.context, static_cast<size_t>(tasks), task, call);
}

// Inputs that one task rounds: enough to be worth a thread's while.
constexpr int64_t kRoundWork = 16384;
// Rows whose rounded inputs stay in the cache while tiles of weights pass by.
constexpr int64_t kRowBytes = 256 * 1024;
// Weights of a task, in the cache while blocks of rows pass by. Each task begins without anything fetched ahead.
constexpr int64_t kTaskBytes = 512 * 1024;

struct Product {
  LinearCall call;
  LinearKernel kernel;
  int64_t rows, tiles, tilesPerTask, rowsAtOnce;
};

void productTask(void* user, size_t index) {
  const Product& product = *static_cast<const Product*>(user);
  const int64_t tile = static_cast<int64_t>(index) * product.tilesPerTask;
  const int64_t tileEnd = std::min(product.tiles, tile + product.tilesPerTask);
  for (int64_t row = 0; row < product.rows; row += product.rowsAtOnce) {
    product.kernel(product.call, tile, tileEnd, row, std::min(product.rows, row + product.rowsAtOnce));
  }
}

}  // namespace

void checkShape(const LinearShape& shape) {
  const auto fail = [](const std::string& message) { throw std::invalid_argument(message); };
  if (shape.bits != 4 && shape.bits != 8) fail("bits is " + std::to_string(shape.bits) + ", must be 4 or 8");
  if (shape.blockSize != 16 && shape.blockSize != 32) {
    fail("block_size is " + std::to_string(shape.blockSize) + ", must be 16 or 32");
  }
  constexpr int64_t kMost = INT32_MAX;
  if (shape.outputs < 1 || shape.outputs > kMost) fail("N is " + std::to_string(shape.outputs) + ", must be 1 to 2147483647");
  if (shape.inputs < 1 || shape.inputs > kMost || shape.inputs % shape.blockSize != 0) {
    fail("K is " + std::to_string(shape.inputs) + ", must be a positive multiple of block_size, " +
         std::to_string(shape.blockSize));
  }
}

void qlinear(Path path, const LinearShape& shape, const uint8_t* packed, const float* bias, Activations activations,
             const float* input, float* out, int64_t rows, const Pool& pool) {
  if (rows == 0) return;
  const auto planes = static_cast<int32_t>(activations);
  const int64_t blocks = shape.blocks(), rowBytes = shape.inputs * planes;
  const int64_t valueBytes = roundUp(rows * rowBytes, 64);
  auto* scratch = static_cast<char*>(threadScratch(valueBytes + rows * blocks * sizeof(BlockInput)));
  auto* values = reinterpret_cast<int8_t*>(scratch);
  auto* inputs = reinterpret_cast<BlockInput*>(scratch + valueBytes);

  const int32_t zero = shape.hasOffsets ? 0 : 1 << (shape.bits - 1);
  Rounding rounding{input, values, inputs, rows, blocks, std::max<int64_t>(1, kRoundWork / shape.inputs), zero};
  run(pool, divideUp(rows, rounding.rowsPerTask), rounderOf(path, activations, shape.blockSize), &rounding);

  const LinearCall call{packed, bias, values, inputs, out, shape.outputs, blocks, shape.tileBytes(), shape.constantBytes(),
                        shape.bits, shape.blockSize, planes, shape.halfScales, shape.hasOffsets};
  // Whole pairs of tiles, equal shares for the threads.
  const int64_t tiles = shape.tiles(), pairs = divideUp(tiles, 2);
  const int64_t rounds = divideUp(tiles * shape.tileBytes(), kTaskBytes * pool.threads);
  const int64_t tilesPerTask = 2 * divideUp(pairs, rounds * pool.threads);
  Product product{call, kernelOf(path), rows, tiles, tilesPerTask, std::max<int64_t>(16, kRowBytes / rowBytes / 4 * 4)};
  run(pool, divideUp(tiles, tilesPerTask), productTask, &product);
}

namespace {

float halfToFloat(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

float constantAt(const LinearShape& shape, const uint8_t* constants, int64_t index) {
  if (!shape.halfScales) {
    float value;
    std::memcpy(&value, constants + 4 * index, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, constants + 2 * index, sizeof bits);
  return halfToFloat(bits);
}

void unpackRow(const LinearShape& shape, const uint8_t* packed, int64_t output, float* out) {
  const uint8_t* tile = packed + output / 16 * shape.tileBytes();
  const int64_t lane = output % 16, groups = shape.blockSize / 4;
  const int32_t zero = shape.hasOffsets ? 0 : 1 << (shape.bits - 1);
  for (int64_t block = 0; block < shape.blocks(); block++) {
    const uint8_t* constants = tile + block * shape.blockConstantBytes();
    const float scale = constantAt(shape, constants, lane);
    const float offset = shape.hasOffsets ? constantAt(shape, constants, 16 + lane) : 0.0f;
    const uint8_t* quants = tile + shape.constantBytes() + block * shape.blockQuantBytes() + 4 * lane;
    for (int64_t j = 0; j < groups; j++) {
      const bool high = shape.bits == 4 && j >= groups / 2;
      const uint8_t* four = quants + 64 * (high ? j - groups / 2 : j);
      for (int64_t i = 0; i < 4; i++) {
        const int32_t q = shape.bits == 8 ? four[i] : high ? four[i] >> 4 : four[i] & 15;
        const float value = scale * static_cast<float>(q - zero);
        *out++ = shape.hasOffsets ? value + offset : value;
      }
    }
  }
}

}  // namespace

void qembedding(const LinearShape& shape, const uint8_t* packed, const int64_t* ids, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    if (ids[i] < 0 || ids[i] >= shape.outputs) {
      throw std::invalid_argument("id " + std::to_string(ids[i]) + " is not among the table's " +
                                  std::to_string(shape.outputs) + " rows");
    }
    unpackRow(shape, packed, ids[i], out + i * shape.inputs);
  }
}

}  // namespace sparq
