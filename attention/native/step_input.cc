#include "step_input.h"

#include <cstring>
#include <sstream>
#include <stdexcept>
#include <unordered_map>

#include "mass.h"

namespace sparq {
namespace {

template <typename... Parts>
void require(bool holds, const Parts&... parts) {
  if (holds) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

void checkLength(const char* field, size_t length, size_t expected, const char* meaning) {
  require(length == expected, field, " has ", length, " values, expected ", expected, " (", meaning, ")");
}

// starts[0] = 0, never falling, each step at least `least`, and the last one equal to `total`.
void checkStarts(const char* field, const std::vector<int32_t>& starts, int64_t total, int32_t least, const char* what) {
  require(starts[0] == 0, field, "[0] is ", starts[0], ", must be 0");
  for (size_t i = 1; i < starts.size(); i++) {
    const int64_t count = int64_t(starts[i]) - starts[i - 1];
    require(count >= least, field, "[", i, "] is ", starts[i], " after ", starts[i - 1], ": sequence ", i - 1, " needs ",
            least, " or more ", what);
  }
  require(starts.back() == total, field, " ends with ", starts.back(), ", but there are ", total, " ", what);
}

void checkSettings(int32_t sequence, const Settings& settings, const StoreShape& store) {
  const auto inRange = [&](const char* name, int32_t value, int32_t low, int32_t high) {
    require(value >= low && value <= high, "settings of sequence ", sequence, ": ", name, " is ", value, ", must be ", low,
            " to ", high);
  };
  constexpr int32_t any = INT32_MAX;
  inRange("mode", settings.mode, 0, 1);
  inRange("r", settings.r, 1, store.headDim);
  inRange("k", settings.k, 1, any);
  inRange("local", settings.local, 0, settings.k);
  inRange("meanValue", settings.meanValue, 0, 1);
  inRange("sumLogits", settings.sumLogits, 0, 1);
  inRange("denseUntil", settings.denseUntil, 0, any);
  inRange("rank", settings.rank, 0, 4);
  const auto rank = static_cast<Rank>(settings.rank);
  require(settings.mode == static_cast<int32_t>(Mode::Dense) || rank != Rank::Mass || store.trackMass, "settings of sequence ", sequence,
          ": rank is mass, which needs a store that tracks masses (trackMass)");
  const bool estimates = rank == Rank::Sparq || rank == Rank::Exact;
  require(estimates || settings.meanValue == 0, "settings of sequence ", sequence, ": meanValue is 1, must be 0 with rank ",
          rankName(rank), ", which does not estimate the mass that it leaves out");
  require(rank == Rank::Sparq || settings.bucketTopK == 0, "settings of sequence ", sequence, ": bucketTopK is ",
          settings.bucketTopK, ", must be 0 with rank ", rankName(rank));
  inRange("bucketTopK", settings.bucketTopK, 0, 4);
  require(settings.bucketTopK != 3, "settings of sequence ", sequence, ": bucketTopK is 3, must be 0, 1, 2 or 4");
  require(settings.sinks >= 0 && settings.sinks <= settings.k - settings.local, "settings of sequence ", sequence, ": sinks is ",
          settings.sinks, ", must be 0 to k - local, which is ", settings.k, " - ", settings.local);
}

void checkTable(int32_t index, const Sequence& sequence, const StoreShape& store) {
  require(sequence.contextLength >= 0, "contextLengths[", index, "] is ", sequence.contextLength, ", must not be negative");
  const int64_t positions = int64_t(sequence.contextLength) + sequence.rowCount;
  const int64_t covered = int64_t(sequence.blockCount) * store.blockSize;
  require(covered >= positions, "the block table of sequence ", index, " has ", sequence.blockCount, " blocks of ",
          store.blockSize, " positions, which hold ", covered, "; ", sequence.contextLength, " cached and ",
          sequence.rowCount, " new positions need ", positions);
  require(positions <= INT32_MAX, "sequence ", index, " would have ", positions, " positions");
  for (int32_t i = 0; i < sequence.blockCount; i++) {
    const int32_t block = sequence.blockTable[i];
    require(block >= 0 && block < store.blocks, "block ", i, " of sequence ", index, " is ", block, ", the store has ",
            store.blocks, " blocks");
  }
}

// Rows of all sequences are written before any is read, by many threads, so a block that is written must have one user.
void checkOwnership(const std::vector<Sequence>& sequences, int32_t blockSize) {
  std::unordered_map<int32_t, size_t> writers;  // block -> the sequence that writes it
  const auto firstWritten = [&](const Sequence& s) { return s.contextLength / blockSize; };
  const auto used = [&](const Sequence& s) { return (s.contextLength + s.rowCount + blockSize - 1) / blockSize; };
  for (size_t s = 0; s < sequences.size(); s++) {
    for (int32_t i = firstWritten(sequences[s]); i < used(sequences[s]); i++) {
      const int32_t block = sequences[s].blockTable[i];
      const auto [found, isNew] = writers.emplace(block, s);
      require(isNew, "block ", block, " would be written by sequence ", found->second, " and again by sequence ", s);
    }
  }
  for (size_t s = 0; s < sequences.size(); s++) {
    for (int32_t i = 0; i < firstWritten(sequences[s]); i++) {
      const auto found = writers.find(sequences[s].blockTable[i]);
      require(found == writers.end(), "block ", sequences[s].blockTable[i], " is read by sequence ", s,
              " while it is written by sequence ", found == writers.end() ? 0 : found->second);
    }
  }
}

void checkTail(const StepInput& input, int32_t layers, int64_t relayWidth) {
  const Tail& tail = input.tail;
  if (!tail.present()) return;
  require(relayWidth > 0, "the graph has no relays: all rows of a step must pass through all layers");
  const int32_t sequences = input.batch.sequenceCount();
  require(tail.firstSequence >= 1 && tail.firstSequence < sequences, "the tail begins at sequence ", tail.firstSequence, " of ",
          sequences, ", must leave some before it and have some");
  require(tail.beginLayer >= 0 && tail.beginLayer < tail.endLayer && tail.endLayer <= layers, "the tail's layers are ",
          tail.beginLayer, " to ", tail.endLayer, ", must be some of 0 to ", layers);
  const int64_t first = input.batch.rowStarts[tail.firstSequence], rows = input.batch.rowCount() - first;
  const int64_t expected = tail.beginLayer == 0 ? 0 : rows * relayWidth;
  require(static_cast<int64_t>(tail.hidden.size()) == expected, "the tail's hidden state has ", tail.hidden.size(),
          " values, must have ", expected, " for ", rows, " rows that begin at layer ", tail.beginLayer);
  const bool stops = tail.endLayer < layers && !input.logitRows.empty() && input.logitRows.back() >= first;
  require(!stops, "logits of row ", input.logitRows.empty() ? 0 : input.logitRows.back(), " are wanted, which stops before layer ",
          tail.endLayer, " of ", layers);
}

}  // namespace

std::vector<Sequence> Batch::sequences() const {
  std::vector<Sequence> sequences(contextLengths.size());
  for (size_t i = 0; i < sequences.size(); i++) {
    Sequence& sequence = sequences[i];
    sequence.rowStart = rowStarts[i];
    sequence.rowCount = rowStarts[i + 1] - rowStarts[i];
    sequence.contextLength = contextLengths[i];
    sequence.blockTable = blockTables.data() + blockTableStarts[i];
    sequence.blockCount = blockTableStarts[i + 1] - blockTableStarts[i];
    std::memcpy(static_cast<void*>(&sequence.settings), settings.data() + i * kSettingsLength, sizeof(Settings));
  }
  return sequences;
}

void checkBatch(const Batch& batch, int64_t rows, const StoreShape& store) {
  const size_t count = batch.contextLengths.size();
  require(count >= 1, "contextLengths is empty: a step needs at least one sequence");
  checkLength("rowStarts", batch.rowStarts.size(), count + 1, "one more than contextLengths");
  checkLength("blockTableStarts", batch.blockTableStarts.size(), count + 1, "one more than contextLengths");
  checkLength("settings", batch.settings.size(), count * kSettingsLength, "10 for each of contextLengths");
  checkStarts("rowStarts", batch.rowStarts, rows, 1, "rows");
  checkStarts("blockTableStarts", batch.blockTableStarts, static_cast<int64_t>(batch.blockTables.size()), 0, "blocks");
  const std::vector<Sequence> sequences = batch.sequences();
  for (size_t i = 0; i < count; i++) {
    checkTable(static_cast<int32_t>(i), sequences[i], store);
    checkSettings(static_cast<int32_t>(i), sequences[i].settings, store);
  }
  checkOwnership(sequences, store.blockSize);
}

void checkStep(const StepInput& input, const StoreShape& store, int32_t vocabSize, int64_t relayWidth) {
  checkBatch(input.batch, static_cast<int64_t>(input.tokenIds.size()), store);
  for (size_t i = 0; i < input.tokenIds.size(); i++) {
    const int32_t token = input.tokenIds[i];
    require(token >= 0 && token < vocabSize, "tokenIds[", i, "] is ", token, ", the vocabulary has ", vocabSize, " tokens");
  }
  for (size_t i = 0; i < input.logitRows.size(); i++) {
    const int32_t row = input.logitRows[i];
    require(row >= 0 && row < input.batch.rowCount(), "logitRows[", i, "] is ", row, ", the step has ",
            input.batch.rowCount(), " rows");
    require(i == 0 || row > input.logitRows[i - 1], "logitRows[", i, "] is ", row, " after ",
            i == 0 ? 0 : input.logitRows[i - 1], ", must ascend");
  }
  checkTail(input, store.layers, relayWidth);
  checkSampling(input.sampling, static_cast<int64_t>(input.logitRows.size()), vocabSize);
}

std::vector<int32_t> positionsOf(const std::vector<Sequence>& sequences, int32_t rows) {
  std::vector<int32_t> positions(rows);
  for (const Sequence& sequence : sequences) {
    for (int32_t i = 0; i < sequence.rowCount; i++) positions[sequence.rowStart + i] = sequence.contextLength + i;
  }
  return positions;
}

}  // namespace sparq
