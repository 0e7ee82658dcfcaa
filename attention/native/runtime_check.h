// Does this ONNX Runtime do what ort_abi.h says? Asked once per process, before the first session.
#pragma once
#include "ort_runtime.h"

namespace sparq {

// Runs a two-row step through a graph of one PagedAttention node and checks the logits. A few milliseconds, once per
// process; later calls return at once. Thread-safe. Throws std::runtime_error that says what did not hold.
void checkRuntime(const ort::Runtime& runtime);

}  // namespace sparq
