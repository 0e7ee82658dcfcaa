// The custom operators over packed weights: QLinear and QEmbedding. See ort_ops.h for what they take.
#pragma once
#include "ort_abi.h"

namespace sparq {

ort::CustomOp qlinearOperator();
ort::CustomOp qembeddingOperator();

}  // namespace sparq
