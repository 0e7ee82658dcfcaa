// From logits to tokens: penalties, temperature, top-k, top-p, min-p, a draw, and log-probabilities. Free of N-API and of
// ONNX Runtime types.
//
// For a row, in this order: log-probabilities of the logits as they are; the mask, which rules tokens out whatever their
// logits; logit bias, then the repetition, frequency and presence penalties (as vLLM defines and orders them); temperature; top-k; top-p, of what top-k left; min-p; a draw from
// the rest, renormalised, in the order of ids. Equal logits rank by id, the lower first.
//
// A choice depends on its row's logits, parameters and uniform number alone: not on other rows, threads, or the instruction
// set. A token weighs 2^((logit - largest) log2(e) / temperature), computed in f32 by the same IEEE operations on every path
// (no fused multiply-add) to 1.5e-6 of itself, and rounded to a multiple of 2^-34. So sums of weights are exact in f64, and
// their order does not matter, for vocabularies up to 2^19; larger ones may differ by a rounding between paths. Tokens of
// less than 2^-35 of the likeliest one's probability are never drawn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "attention.h"

namespace sparq {

// The most likely tokens that a row may ask log-probabilities of.
constexpr int32_t kMostLogprobs = 20;

// uint32 words of a mask over a vocabulary: bit i % 32 of word i / 32 is token i's.
inline size_t maskWords(int32_t vocabSize) { return (size_t(vocabSize) + 31) / 32; }

// float64 values per row in SamplingInput.params, in the order of RowSampling.
constexpr int32_t kSamplingParams = 10;

// How one row becomes a token.
struct RowSampling {
  double temperature;  // 0: the likeliest
  double topP;         // (0, 1], 1 = off
  double minP;         // [0, 1], 0 = off
  double repetition;   // > 0, 1 = off: divides positive logits of tokens that were there, multiplies others
  double frequency;    // subtracted once for each time that the token was generated
  double presence;     // subtracted if the token was generated
  double uniform;      // [0, 1): the random number
  int32_t topK;        // 0 = off
  int32_t logprobs;    // how many of the likeliest tokens to give log-probabilities of, and of the chosen one; -1: of none
  int32_t token;       // -1: choose; else this is the choice, of which a log-probability is wanted
  const int32_t* counts;  // [countPairs][2]: a token of the prompt or the output, and how often it was generated
  size_t countPairs;
  const int32_t* biasTokens;  // [biasCount]
  const float* biases;        // [biasCount]: added; -infinity rules the token out
  size_t biasCount;
  const int32_t* mask;  // [maskWords(vocabSize)]: a token's bit is set if it may be chosen; null: all may
};

// The sampled ones among a step's R logit rows, as the TypeScript side packs them.
struct SamplingInput {
  std::vector<int32_t> rows;         // [S], ascending, in [0, R)
  std::vector<double> params;        // [S][kSamplingParams]
  std::vector<int32_t> countStarts = {0};  // [S + 1], in pairs
  std::vector<int32_t> counts;       // [pairs][2]
  std::vector<int32_t> biasStarts = {0};   // [S + 1]
  std::vector<int32_t> biasTokens;
  std::vector<float> biases;
  std::vector<int32_t> maskStarts = {0};   // [S + 1]: a row has no mask or one of maskWords(vocabSize)
  std::vector<int32_t> masks;

  size_t size() const { return rows.size(); }
  // Of an input that passed checkSampling; points into it.
  RowSampling row(size_t index) const;
};

// Throws std::invalid_argument that names the field, its index and the numbers.
void checkSampling(const SamplingInput& input, int64_t logitRows, int32_t vocabSize);

enum class Fault : int32_t {
  None = 0,
  NotANumber = 1,  // the logit of `token` is NaN
  NotFinite = 2,   // the largest logit, that of `token`, is infinite: nothing to choose from
  NoMemory = 3,
  NothingAllowed = 4,  // no token that the mask allows has a finite logit
};

struct SampledRows {
  std::vector<int32_t> tokenIds;     // [S]: the choice, or the token at fault
  std::vector<int32_t> faults;       // [S], Fault
  std::vector<double> logprobs;      // [S], NaN unless asked for
  int32_t topCount = 0;              // the most that a row asked for
  std::vector<int32_t> topIds;       // [S][topCount], the likeliest first; -1 beyond what the row asked for
  std::vector<double> topLogprobs;   // [S][topCount]
};

// Samples rows of `logits` [R][vocabSize] in parallel. Rows with bias or penalties are changed meanwhile and restored. The input has
// passed checkSampling. Throws std::bad_alloc.
SampledRows sampleRows(Path path, float* logits, int32_t vocabSize, const SamplingInput& input, const Pool& pool);

}  // namespace sparq
