#include "ort_dense.h"

#include "dense_linear.h"
#include "ort_weights.h"

namespace sparq {

namespace {

DenseShape shapeFrom(const Attributes& attributes) {
  constexpr int64_t kMost = INT32_MAX;
  return {attributes.integer("K", 1, kMost), attributes.integer("N", 1, kMost),
          static_cast<DType>(attributes.integer("dtype", 0, 2))};
}

struct PlainWeights {
  static constexpr const char* kLinear = "DenseLinear";
  static constexpr const char* kEmbedding = "DenseEmbedding";

  PlainWeights(const ort::KernelInfo* info, const Attributes& attributes)
      : shape(shapeFrom(attributes)), data(constantWeights(info, attributes, shape.bytes())) {}

  void linear(Path path, const float* bias, const float* input, float* out, int64_t rows, const Pool& pool) const {
    denseLinear(path, shape, data, bias, input, out, rows, pool);
  }
  void embedding(const int64_t* ids, float* out, int64_t count) const { denseEmbedding(shape, data, ids, out, count); }

  const DenseShape shape;
  const void* const data;
};

}  // namespace

ort::CustomOp denseLinearOperator() { return linearOperator<PlainWeights>(); }
ort::CustomOp denseEmbeddingOperator() { return embeddingOperator<PlainWeights>(); }

}  // namespace sparq
