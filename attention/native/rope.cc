#include "rope.h"

#include <cmath>

namespace sparq {

void fillCosSin(const std::vector<int32_t>& positions, const std::vector<float>& inverseFrequencies, float scale,
                std::vector<float>& cosSin) {
  cosSin.resize(positions.size() * inverseFrequencies.size() * 2);
  float* out = cosSin.data();
  for (const int32_t position : positions) {
    for (const float frequency : inverseFrequencies) {
      const float angle = static_cast<float>(position) * frequency;
      // In double, so that the result is the correctly rounded one on every libm.
      *out++ = static_cast<float>(std::cos(static_cast<double>(angle))) * scale;
      *out++ = static_cast<float>(std::sin(static_cast<double>(angle))) * scale;
    }
  }
}

}  // namespace sparq
