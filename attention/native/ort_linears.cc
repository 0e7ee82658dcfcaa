#include "ort_linears.h"

#include "ort_weights.h"
#include "qlinear.h"

namespace sparq {

namespace {

LinearShape shapeFrom(const Attributes& attributes) {
  constexpr int64_t kMost = INT32_MAX;
  const LinearShape shape{attributes.integer("K", 1, kMost),
                          attributes.integer("N", 1, kMost),
                          attributes.integer("bits", 4, 8),
                          attributes.integer("block_size", 16, 32),
                          attributes.integer("half_scales", 0, 1) == 1,
                          attributes.integer("offsets", 0, 1) == 1};
  try {
    checkShape(shape);
  } catch (const std::invalid_argument& error) {
    attributes.fail(error.what());
  }
  return shape;
}

struct PackedWeights {
  static constexpr const char* kLinear = "QLinear";
  static constexpr const char* kEmbedding = "QEmbedding";

  PackedWeights(const StepContext&, const ort::KernelInfo* info, const Attributes& attributes)
      : shape(shapeFrom(attributes)), data(static_cast<const uint8_t*>(constantWeights(info, attributes, shape.bytes()))) {}

  void embedding(const int64_t* ids, float* out, int64_t count) const { qembedding(shape, data, ids, out, count); }

  const LinearShape shape;
  const uint8_t* const data;
};

// With what an input becomes, which an embedding does not say.
struct MultipliedWeights : PackedWeights {
  MultipliedWeights(const StepContext& context, const ort::KernelInfo* info, const Attributes& attributes)
      : PackedWeights(context, info, attributes), activations(static_cast<Activations>(attributes.integer("planes", 1, 2))) {}

  void linear(Path path, const float* bias, const float* input, float* out, int64_t rows, const Pool& pool) const {
    qlinear(path, shape, data, bias, activations, input, out, rows, pool);
  }

  const Activations activations;
};

}  // namespace

ort::CustomOp qlinearOperator() { return linearOperator<MultipliedWeights>(); }
ort::CustomOp qembeddingOperator() { return embeddingOperator<PackedWeights>(); }

}  // namespace sparq
