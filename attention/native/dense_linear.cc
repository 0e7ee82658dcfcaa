#include "dense_linear.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "dense_linear_kernels.h"

namespace sparq {
namespace {

// Weights of a task, in the cache while blocks of rows pass by.
constexpr int64_t kTaskBytes = 256 * 1024;
// Rows of inputs that stay in the cache while weights pass by.
constexpr int64_t kRowBytes = 256 * 1024;
// Outputs that are computed together; see dense_linear_body.inc.
constexpr int64_t kTile = 4;

DenseKernel kernelOf([[maybe_unused]] Path path) {
#if defined(__x86_64__)
  if (path == Path::Avx512 || path == Path::Avx512Vnni) return denseAvx512;
  if (hasAvx2(path)) return denseAvx2;
#elif defined(__aarch64__)
  if (path != Path::Scalar) return denseNeon;
#endif
  return denseScalar;
}

int64_t divideUp(int64_t value, int64_t by) { return (value + by - 1) / by; }

struct Product {
  DenseCall call;  // but for where the weights are
  std::span<const DensePiece> pieces;
  DenseKernel kernel;
  int64_t rows, rowsAtOnce, outputsPerTask;
};

void productTask(void* user, size_t index) {
  const Product& product = *static_cast<const Product*>(user);
  const int64_t begin = static_cast<int64_t>(index) * product.outputsPerTask;
  const int64_t end = std::min(product.call.outputs, begin + product.outputsPerTask);
  for (int64_t row = 0; row < product.rows; row += product.rowsAtOnce) {
    DenseCall call = product.call;
    for (const DensePiece& piece : product.pieces) {
      const int64_t from = std::max(begin, call.firstOutput), to = std::min(end, call.firstOutput + piece.outputs);
      call.weights = piece.weights;
      if (from < to) product.kernel(call, from, to, row, std::min(product.rows, row + product.rowsAtOnce));
      call.firstOutput += piece.outputs;
    }
  }
}

template <typename T>
void copyRow(const void* table, int64_t row, int64_t width, float* out) {
  const T* from = static_cast<const T*>(table) + row * width;
  for (int64_t i = 0; i < width; i++) {
    T element;
    std::memcpy(&element, from + i, sizeof element);
    out[i] = toFloat(element);
  }
}

}  // namespace

void denseLinear(Path path, const DenseShape& shape, std::span<const DensePiece> pieces, const float* bias, const float* input,
                 float* out, int64_t rows, const Pool& pool) {
  if (rows == 0) return;
  const int64_t tiles = divideUp(shape.outputs, kTile);
  // Equal shares for the threads, in as many rounds as make a task's weights fit into the cache.
  const int64_t rounds = divideUp(shape.bytes(), kTaskBytes * pool.threads);
  const int64_t outputsPerTask = kTile * divideUp(tiles, rounds * pool.threads);
  const auto inputBytes = static_cast<int64_t>(shape.inputs * sizeof(float));
  Product product{{nullptr, 0, bias, input, out, shape.inputs, shape.outputs, shape.dtype},
                  pieces,
                  kernelOf(path),
                  rows,
                  std::max<int64_t>(kTile, kRowBytes / inputBytes / kTile * kTile),
                  outputsPerTask};
  const int64_t tasks = divideUp(shape.outputs, outputsPerTask);
  if (tasks == 1) return productTask(&product, 0);
  pool.run(pool.context, static_cast<size_t>(tasks), productTask, &product);
}

void denseEmbedding(const DenseShape& shape, const void* table, const int64_t* ids, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    if (ids[i] < 0 || ids[i] >= shape.outputs) {
      throw std::invalid_argument("id " + std::to_string(ids[i]) + " is not among the table's " +
                                  std::to_string(shape.outputs) + " rows");
    }
    float* row = out + i * shape.inputs;
    if (shape.dtype == DType::F32) copyRow<float>(table, ids[i], shape.inputs, row);
    else if (shape.dtype == DType::F16) copyRow<Half>(table, ids[i], shape.inputs, row);
    else copyRow<Bf16>(table, ids[i], shape.inputs, row);
  }
}

}  // namespace sparq
