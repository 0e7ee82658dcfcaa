// silu(gate) * up, the gated activation of Llama's feed-forward block (arXiv 2002.05202).
#pragma once
#include <cstddef>
#include <cstdint>

#include "attention.h"

namespace sparq {

// out[row][i] = silu(input[row][i]) * input[row][width + i], with silu(x) = x / (1 + exp(-x)), for rows of 2 * width
// inputs. The result is bitwise the same on every path and for every number of threads.
void swiglu(Path path, const float* input, float* out, int64_t rows, int64_t width, const Pool& pool);

}  // namespace sparq
