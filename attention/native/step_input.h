// One step as the TypeScript side packs it (StepInput in ../types.ts), and the check that it keeps its contract.
#pragma once
#include <cstdint>
#include <vector>

#include "attention.h"
#include "sampling.h"

namespace sparq {

constexpr int32_t kSettingsLength = sizeof(Settings) / sizeof(int32_t);

// The ragged batch: N sequences, T rows.
struct Batch {
  std::vector<int32_t> rowStarts;         // [N + 1]
  std::vector<int32_t> contextLengths;    // [N]
  std::vector<int32_t> blockTables;       // [sum of table lengths]
  std::vector<int32_t> blockTableStarts;  // [N + 1]
  std::vector<int32_t> settings;          // [N * 8]

  int32_t sequenceCount() const { return static_cast<int32_t>(contextLengths.size()); }
  int32_t rowCount() const { return rowStarts.back(); }
  // For a batch that passed checkBatch. The sequences point into blockTables.
  std::vector<Sequence> sequences() const;
};

struct StepInput {
  Batch batch;
  std::vector<int32_t> tokenIds;   // [T]
  std::vector<int32_t> logitRows;  // [R], ascending
  SamplingInput sampling = {};     // of logit rows; of none by default
};

// Throws std::invalid_argument that names the field, its index and the numbers, when a batch of `rows` rows does not fit
// the store: starts that do not cover, a table too short, a block outside the store, a block that one sequence writes
// and another one uses, settings out of range.
void checkBatch(const Batch& batch, int64_t rows, const StoreShape& store);

// checkBatch, checkSampling, and tokens in [0, vocabSize), logit rows inside the step and strictly ascending.
void checkStep(const StepInput& input, const StoreShape& store, int32_t vocabSize);

// The position of every row.
std::vector<int32_t> positionsOf(const std::vector<Sequence>& sequences, int32_t rows);

}  // namespace sparq
