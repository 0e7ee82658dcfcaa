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
  std::vector<int32_t> settings;          // [N * kSettingsLength]

  int32_t sequenceCount() const { return static_cast<int32_t>(contextLengths.size()); }
  int32_t rowCount() const { return rowStarts.back(); }
  // For a batch that passed checkBatch. The sequences point into blockTables.
  std::vector<Sequence> sequences() const;
};

// Prompts may go through the layers in several steps: the last sequences of a step then pass through some layers only.
struct Tail {
  int32_t firstSequence = -1;  // with all that follow it; -1: every sequence passes through all layers
  int32_t beginLayer = 0, endLayer = 0;
  std::vector<float> hidden;   // [rows][hidden size], what an earlier step that ended at beginLayer gave; nothing if that is 0

  bool present() const { return firstSequence >= 0; }
  bool isIn(int32_t layer) const { return !present() || (layer >= beginLayer && layer < endLayer); }
};

struct StepInput {
  Batch batch;
  std::vector<int32_t> tokenIds;   // [T]
  std::vector<int32_t> logitRows;  // [R], ascending
  SamplingInput sampling = {};     // of logit rows; of none by default
  Tail tail = {};
  bool timed = false;  // measure where the step's time goes
};

// Throws std::invalid_argument that names the field, its index and the numbers, when a batch of `rows` rows does not fit
// the store: starts that do not cover, a table too short, a block outside the store, a block that one sequence writes
// and another one uses, settings out of range.
void checkBatch(const Batch& batch, int64_t rows, const StoreShape& store);

// checkBatch, checkSampling, and tokens in [0, vocabSize), logit rows inside the step and strictly ascending, of rows that
// reach the last layer; a tail that fits the graph, whose relays have `relayWidth` values, or 0 for none.
void checkStep(const StepInput& input, const StoreShape& store, int32_t vocabSize, int64_t relayWidth);

// The position of every row.
std::vector<int32_t> positionsOf(const std::vector<Sequence>& sequences, int32_t rows);

}  // namespace sparq
