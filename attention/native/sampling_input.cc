// What a step's sampling input must keep to.
#include <cmath>
#include <sstream>
#include <stdexcept>

#include "sampling.h"

namespace sparq {
namespace {

template <typename... Parts>
void require(bool holds, const Parts&... parts) {
  if (holds) return;
  std::ostringstream message;
  message.precision(10);  // all of an int32
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

void checkLength(const char* field, size_t length, size_t expected, const char* meaning) {
  require(length == expected, "sampling.", field, " has ", length, " values, expected ", expected, " (", meaning, ")");
}

void checkStarts(const char* field, const std::vector<int32_t>& starts, size_t rows, size_t total) {
  checkLength(field, starts.size(), rows + 1, "one more than rows");
  require(starts[0] == 0, "sampling.", field, "[0] is ", starts[0], ", must be 0");
  for (size_t i = 1; i < starts.size(); i++) {
    require(starts[i] >= starts[i - 1], "sampling.", field, "[", i, "] is ", starts[i], " after ", starts[i - 1],
            ", must not fall");
  }
  require(static_cast<size_t>(starts.back()) == total, "sampling.", field, " ends with ", starts.back(), ", but there are ",
          total);
}

// Of a double that stands for an int32, any.
bool isInteger(double value) { return value >= INT32_MIN && value <= INT32_MAX && value == std::floor(value); }

void checkIntegers(size_t index, const double* params) {
  const char* const names[] = {"topK", "logprobs", "token"};
  for (int i = 0; i < 3; i++) {
    const double value = params[kSamplingParams - 3 + i];
    require(isInteger(value), "sampling of row ", index, ": ", names[i], " is ", value, ", must be an integer");
  }
}

void checkRow(size_t index, const RowSampling& row, int32_t vocabSize) {
  const auto inRange = [&](const char* name, double value, double low, double high) {
    require(value >= low && value <= high, "sampling of row ", index, ": ", name, " is ", value, ", must be ", low, " to ",
            high);
  };
  constexpr double most = 1.7976931348623157e308, least = 5e-324, below1 = 1 - 0x1p-53;
  inRange("temperature", row.temperature, 0, most);
  inRange("topP", row.topP, least, 1);
  inRange("minP", row.minP, 0, 1);
  inRange("repetitionPenalty", row.repetition, least, most);
  inRange("frequencyPenalty", row.frequency, -most, most);
  inRange("presencePenalty", row.presence, -most, most);
  inRange("uniform", row.uniform, 0, below1);
  inRange("topK", row.topK, 0, INT32_MAX);
  inRange("logprobs", row.logprobs, -1, kMostLogprobs);
  inRange("token", row.token, -1, vocabSize - 1);
}

void checkToken(const char* field, size_t index, int32_t token, int32_t vocabSize) {
  require(token >= 0 && token < vocabSize, "sampling.", field, "[", index, "] is ", token, ", the vocabulary has ", vocabSize,
          " tokens");
}

}  // namespace

RowSampling SamplingInput::row(size_t index) const {
  const double* p = params.data() + index * kSamplingParams;
  RowSampling row;
  row.temperature = p[0];
  row.topP = p[1];
  row.minP = p[2];
  row.repetition = p[3];
  row.frequency = p[4];
  row.presence = p[5];
  row.uniform = p[6];
  row.topK = static_cast<int32_t>(p[7]);
  row.logprobs = static_cast<int32_t>(p[8]);
  row.token = static_cast<int32_t>(p[9]);
  row.counts = counts.data() + size_t(countStarts[index]) * 2;
  row.countPairs = countStarts[index + 1] - countStarts[index];
  row.biasTokens = biasTokens.data() + biasStarts[index];
  row.biases = biases.data() + biasStarts[index];
  row.biasCount = biasStarts[index + 1] - biasStarts[index];
  row.mask = maskStarts[index + 1] == maskStarts[index] ? nullptr : masks.data() + maskStarts[index];
  return row;
}

void checkSampling(const SamplingInput& input, int64_t logitRows, int32_t vocabSize) {
  const size_t count = input.rows.size();
  for (size_t i = 0; i < count; i++) {
    const int32_t row = input.rows[i];
    require(row >= 0 && row < logitRows, "sampling.rows[", i, "] is ", row, ", there are ", logitRows, " logit rows");
    require(i == 0 || row > input.rows[i - 1], "sampling.rows[", i, "] is ", row, " after ", i == 0 ? 0 : input.rows[i - 1],
            ", must ascend");
  }
  checkLength("params", input.params.size(), count * kSamplingParams, "10 for each of rows");
  checkLength("counts", input.counts.size() % 2, 0, "pairs");
  checkLength("biases", input.biases.size(), input.biasTokens.size(), "as many as biasTokens");
  checkStarts("countStarts", input.countStarts, count, input.counts.size() / 2);
  checkStarts("biasStarts", input.biasStarts, count, input.biasTokens.size());
  checkStarts("maskStarts", input.maskStarts, count, input.masks.size());
  for (size_t i = 0; i < count; i++) {
    const int32_t words = input.maskStarts[i + 1] - input.maskStarts[i];
    require(words == 0 || static_cast<size_t>(words) == maskWords(vocabSize), "sampling of row ", i, ": the mask has ", words,
            " words, must have 0 or ", maskWords(vocabSize));
  }
  for (size_t i = 0; i < count; i++) {
    checkIntegers(i, input.params.data() + i * kSamplingParams);
    checkRow(i, input.row(i), vocabSize);
  }
  for (size_t i = 0; i < input.counts.size(); i += 2) {
    checkToken("counts", i, input.counts[i], vocabSize);
    require(input.counts[i + 1] >= 0, "sampling.counts[", i + 1, "] is ", input.counts[i + 1], ", must not be negative");
  }
  for (size_t i = 0; i < input.biasTokens.size(); i++) {
    checkToken("biasTokens", i, input.biasTokens[i], vocabSize);
    const float bias = input.biases[i];
    require(bias < INFINITY, "sampling.biases[", i, "] is ", bias, ", must be a number below infinity");
  }
}

}  // namespace sparq
