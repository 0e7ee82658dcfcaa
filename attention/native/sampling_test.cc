// Random rows on every path that this CPU has, most of them with one thing broken: refused, or the same on all paths, which
// the sanitizers watch. What a row must come to is tested from TypeScript, test/contract/sampling.case.ts.
#include "sampling.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <stdexcept>

#include "worker_pool.h"

namespace {

using namespace sparq;

std::mt19937 generator(11);
int32_t pick(int32_t low, int32_t high) { return std::uniform_int_distribution<int32_t>(low, high)(generator); }
double between(double low, double high) { return std::uniform_real_distribution<double>(low, high)(generator); }

// Logits of any kind: spread, equal, tied, mostly ruled out, now and then not finite.
std::vector<float> someLogits(int32_t rows, int32_t vocabSize) {
  std::vector<float> logits(size_t(rows) * vocabSize);
  for (int32_t row = 0; row < rows; row++) {
    const int32_t kind = pick(0, 6);
    std::normal_distribution<float> normal(0, kind == 0 ? 0.05f : kind == 1 ? 40.0f : 3.0f);
    for (int32_t i = 0; i < vocabSize; i++) {
      float& logit = logits[size_t(row) * vocabSize + i];
      logit = kind == 2 ? 1.5f : kind == 3 ? std::round(normal(generator)) : normal(generator);
      if (kind == 4 && pick(0, 9) > 0) logit = -INFINITY;
    }
    if (pick(0, 9) == 0) {
      const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, -0.0f};
      logits[size_t(row) * vocabSize + pick(0, vocabSize - 1)] = odd[pick(0, 5)];
    }
  }
  return logits;
}

SamplingInput someSampling(int32_t rows, int32_t vocabSize) {
  SamplingInput input;
  const auto maybe = [](double value, double off) { return pick(0, 1) ? value : off; };
  for (int32_t row = 0; row < rows; row++) {
    if (pick(0, 5) == 0) continue;  // its logits stay logits
    input.rows.push_back(row);
    const double temperatures[] = {0, 1e-6, 0.8, 1, 5, 100, 1e300};
    const double params[kSamplingParams] = {temperatures[pick(0, 6)],
                                            maybe(between(1e-6, 1), 1),
                                            maybe(between(0, 1), 0),
                                            maybe(between(0.5, 2), 1),
                                            maybe(between(-1, 1), 0),
                                            maybe(between(-1, 1), 0),
                                            pick(0, 3) == 0 ? 1 - 0x1p-53 : between(0, 0.999),
                                            maybe(pick(1, vocabSize + 5), 0),
                                            maybe(pick(0, kMostLogprobs), -1),
                                            pick(0, 7) == 0 ? double(pick(0, vocabSize - 1)) : -1};
    input.params.insert(input.params.end(), params, params + kSamplingParams);
    for (int32_t i = pick(0, 8); i > 0; i--) {
      input.counts.push_back(pick(0, vocabSize - 1));
      input.counts.push_back(pick(0, 3));
    }
    input.countStarts.push_back(static_cast<int32_t>(input.counts.size() / 2));
    for (int32_t i = pick(0, 4); i > 0; i--) {
      input.biasTokens.push_back(pick(0, vocabSize - 1));
      input.biases.push_back(pick(0, 3) == 0 ? -INFINITY : static_cast<float>(between(-5, 5)));
    }
    input.biasStarts.push_back(static_cast<int32_t>(input.biasTokens.size()));
    const int32_t density = pick(0, 5);  // none, few, half, all, or no mask
    for (size_t i = 0; density < 4 && i < maskWords(vocabSize); i++) {
      const int32_t words[] = {0, 1 << pick(0, 31), pick(INT32_MIN, INT32_MAX), -1};
      input.masks.push_back(words[pick(0, 3) == 0 ? 3 : density]);
    }
    input.maskStarts.push_back(static_cast<int32_t>(input.masks.size()));
  }
  return input;
}

void breakSomething(SamplingInput& input) {
  std::vector<int32_t>* const arrays[] = {&input.rows, &input.countStarts, &input.counts, &input.biasStarts, &input.biasTokens,
                                          &input.maskStarts, &input.masks};
  constexpr int32_t integers = sizeof arrays / sizeof arrays[0];
  const int32_t which = pick(0, integers + 1);
  const double oddDoubles[] = {NAN, INFINITY, -INFINITY, -1, 1.5, 3e9, 0};
  if (which == integers && !input.params.empty()) {
    input.params[pick(0, static_cast<int32_t>(input.params.size()) - 1)] = oddDoubles[pick(0, 6)];
  } else if (which == integers + 1 && !input.biases.empty()) {
    input.biases[pick(0, static_cast<int32_t>(input.biases.size()) - 1)] = static_cast<float>(oddDoubles[pick(0, 6)]);
  } else {
    std::vector<int32_t>& array = *arrays[which % integers];
    const int32_t odd[] = {INT32_MIN, INT32_MAX, -1, pick(-2, 40)};
    if (array.empty() || pick(0, 3) == 0) {
      array.resize(pick(0, static_cast<int32_t>(array.size()) + 2));
    } else {
      array[pick(0, static_cast<int32_t>(array.size()) - 1)] = odd[pick(0, 3)];
    }
  }
}

template <typename T>
bool sameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

bool same(const SampledRows& a, const SampledRows& b) {
  return sameBits(a.tokenIds, b.tokenIds) && sameBits(a.faults, b.faults) && sameBits(a.logprobs, b.logprobs) &&
         a.topCount == b.topCount && sameBits(a.topIds, b.topIds) && sameBits(a.topLogprobs, b.topLogprobs);
}

}  // namespace

int main() {
  WorkerPool pool(2);
  const int32_t sizes[] = {1, 2, 15, 16, 17, 63, 64, 65, 200, 1000, 5000};
  int refused = 0, accepted = 0, faults = 0;
  for (int i = 0; i < 4000; i++) {
    const int32_t rows = pick(1, 4), vocabSize = sizes[pick(0, 10)];
    std::vector<float> logits = someLogits(rows, vocabSize);
    const std::vector<float> before = logits;
    SamplingInput input = someSampling(rows, vocabSize);
    const bool broken = i % 2 != 0;
    if (broken) breakSomething(input);
    try {
      checkSampling(input, rows, vocabSize);
    } catch (const std::invalid_argument& error) {
      refused++;
      if (broken) continue;
      std::printf("FAILED: good sampling is refused: %s\n", error.what());
      return 1;
    }
    accepted++;
    const SampledRows expected = sampleRows(Path::Scalar, logits.data(), vocabSize, input, pool.pool());
    for (const int32_t fault : expected.faults) faults += fault != 0;
    for (const int32_t token : expected.tokenIds) {
      if (token >= 0 && token < vocabSize) continue;
      std::printf("FAILED: token %d of %d\n", token, vocabSize);
      return 1;
    }
    for (const Path path : availablePaths()) {
      if (same(expected, sampleRows(path, logits.data(), vocabSize, input, pool.pool())) && sameBits(logits, before)) continue;
      std::printf("FAILED: %s differs from scalar, or changed the logits, in step %d\n", pathName(path), i);
      return 1;
    }
  }
  if (refused < 800 || accepted < 2000 || faults < 50) {
    std::printf("FAILED: %d refused, %d accepted, %d faults: the rows test nothing\n", refused, accepted, faults);
    return 1;
  }
  std::printf("sampling_test: ok, %d inputs refused, %d sampled on every path\n", refused, accepted);
  return 0;
}
