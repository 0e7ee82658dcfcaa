// The custom operators over matrices of plain floats: DenseLinear and DenseEmbedding. See ort_ops.h for what they take.
#pragma once
#include "ort_abi.h"

namespace sparq {

ort::CustomOp denseLinearOperator();
ort::CustomOp denseEmbeddingOperator();

}  // namespace sparq
