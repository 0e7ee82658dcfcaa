// Rotation angles of rotary position embedding (arXiv 2104.09864), as Hugging Face transformers computes them.
#pragma once
#include <cstdint>
#include <vector>

namespace sparq {

// cosSin[row][i] = (cos, sin) of positions[row] * inverseFrequencies[i], times scale. The angle is a float32 product.
void fillCosSin(const std::vector<int32_t>& positions, const std::vector<float>& inverseFrequencies, float scale,
                std::vector<float>& cosSin);

}  // namespace sparq
