// The custom operator between two layers, where a step's last rows may stop or go on. See ort_ops.h for what it takes.
#pragma once
#include "ort_abi.h"

namespace sparq {

ort::CustomOp relayOperator();

}  // namespace sparq
