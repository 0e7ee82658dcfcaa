#include "ort_dense.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "dense_linear.h"
#include "ort_weights.h"

namespace sparq {

namespace {

DenseShape shapeFrom(const Attributes& attributes) {
  constexpr int64_t kMost = INT32_MAX;
  return {attributes.integer("K", 1, kMost), attributes.integer("N", 1, kMost),
          static_cast<DType>(attributes.integer("dtype", 0, 2))};
}

// In the order of their outputs; see ort_ops.h.
std::vector<DensePiece> piecesFrom(StepContext& context, const ort::KernelInfo* info, const Attributes& attributes,
                                   const DenseShape& shape) {
  const auto path = attributes.text("file");
  if (!path) return {{constantWeights(info, attributes, shape.bytes()), shape.outputs}};
  const std::vector<int64_t> offsets = attributes.integers("offsets"), outputs = attributes.integers("outputs");
  const std::string modified = attributes.text("file_modified").value_or("");
  const bool sound = std::ranges::all_of(outputs, [&](int64_t count) { return count > 0 && count <= shape.outputs; });
  if (!sound || offsets.size() != outputs.size() || std::accumulate(outputs.begin(), outputs.end(), int64_t{0}) != shape.outputs) {
    attributes.fail("the outputs " + ort::shapeText(outputs) + " at the offsets " + ort::shapeText(offsets) + " must be " +
                    std::to_string(shape.outputs) + " in all");
  }
  try {
    const MappedFile& file = context.file(*path, attributes.count("file_bytes"), std::stoll(modified));
    std::vector<DensePiece> pieces(outputs.size());
    for (size_t i = 0; i < pieces.size(); i++) {
      const DenseShape rows{shape.inputs, outputs[i], shape.dtype};
      pieces[i] = {file.at(offsets[i], rows.bytes()), outputs[i]};
    }
    return pieces;
  } catch (const std::logic_error&) {
    attributes.fail("file_modified is \"" + modified + "\", must be nanoseconds");
  }
}

struct PlainWeights {
  static constexpr const char* kLinear = "DenseLinear";
  static constexpr const char* kEmbedding = "DenseEmbedding";

  PlainWeights(StepContext& context, const ort::KernelInfo* info, const Attributes& attributes)
      : shape(shapeFrom(attributes)), pieces(piecesFrom(context, info, attributes, shape)) {}

  void linear(Path path, const float* bias, const float* input, float* out, int64_t rows, const Pool& pool) const {
    denseLinear(path, shape, pieces, bias, input, out, rows, pool);
  }
  const DenseShape shape;
  const std::vector<DensePiece> pieces;
};

struct PlainTable : PlainWeights {
  PlainTable(StepContext& context, const ort::KernelInfo* info, const Attributes& attributes)
      : PlainWeights(context, info, attributes) {
    if (pieces.size() != 1) attributes.fail("the table is in " + std::to_string(pieces.size()) + " pieces, must be in one");
  }

  void embedding(const int64_t* ids, float* out, int64_t count) const {
    denseEmbedding(shape, pieces[0].weights, ids, out, count);
  }
};

}  // namespace

ort::CustomOp denseLinearOperator() { return linearOperator<PlainWeights>(); }
ort::CustomOp denseEmbeddingOperator() { return embeddingOperator<PlainTable>(); }

}  // namespace sparq
