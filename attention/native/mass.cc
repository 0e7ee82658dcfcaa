#include "mass.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <unordered_set>

namespace sparq {
namespace {

int32_t promptRowsOf(const Sequence& sequence) {
  return std::clamp(sequence.settings.denseUntil - sequence.contextLength, 0, sequence.rowCount);
}

// Whether rows past the prompt rank by mass, those included that see too little to leave anything out.
bool decodesByMass(const Sequence& sequence) {
  return sequence.settings.mode == static_cast<int32_t>(Mode::Sparq) && sequence.settings.rank == static_cast<int32_t>(Rank::Mass) &&
         promptRowsOf(sequence) < sequence.rowCount;
}

bool beginsWith(const Sequence& sequence, const std::vector<int32_t>& blocks) {
  return int32_t(blocks.size()) <= sequence.blockCount && std::equal(blocks.begin(), blocks.end(), sequence.blockTable);
}

}  // namespace

bool MassTracker::overwrites(const Sequence& sequence, const State& state) const {
  const int32_t end = blocksOf(sequence.contextLength + sequence.rowCount);
  for (int32_t i = sequence.contextLength / shape_.blockSize; i < end; i++) {
    for (int32_t j = 0; j < int32_t(state.promptBlocks.size()); j++) {
      if (state.promptBlocks[j] == sequence.blockTable[i] && (i != j || sequence.contextLength < state.promptEnd)) return true;
    }
  }
  return false;
}

// The state that the sequence's rows follow; null, and why, if there is none. Rows from position 0 on need none.
const MassTracker::State* MassTracker::before(const States& states, const Sequence& sequence, const char** why) const {
  const auto found = states.find(sequence.blockTable[0]);
  *why = "its prompt was not run from position 0 on";
  if (found == states.end()) return nullptr;
  const State& state = found->second;
  const bool fromPrompt = sequence.contextLength == state.promptEnd && beginsWith(sequence, state.promptBlocks);
  if (fromPrompt) return &state;
  const bool decoding = promptRowsOf(sequence) == 0 && sequence.contextLength == state.end && beginsWith(sequence, state.decodeBlocks);
  if (decoding) return &state;
  *why = beginsWith(sequence, state.promptBlocks) ? "its rows follow neither its prompt nor its last decode row"
                                                  : "its first block is another sequence's too";
  return nullptr;
}

void MassTracker::check(const std::vector<Sequence>& sequences, int32_t layer) const {
  std::unordered_map<int32_t, size_t> users;
  for (size_t i = 0; i < sequences.size(); i++) {
    const Sequence& sequence = sequences[i];
    if (!decodesByMass(sequence)) continue;
    const auto refuse = [&](const std::string& why) {
      throw std::invalid_argument("sequence " + std::to_string(i) + " ranks by mass, and the masses before its position " +
                                  std::to_string(sequence.contextLength) + " are not there: " + why);
    };
    const auto [user, isNew] = users.emplace(sequence.blockTable[0], i);
    if (!isNew) refuse("it shares its first block, " + std::to_string(user->first) + ", with sequence " + std::to_string(user->second));
    const char* why = nullptr;
    if (sequence.contextLength > 0 && before(layers_[layer], sequence, &why) == nullptr) refuse(why);
  }
}

void MassTracker::reserve(State& state, int32_t positions) const {
  const int32_t old = state.capacity, needed = blocksOf(positions) * shape_.blockSize;
  // A sequence grows by a block at a time.
  const int32_t capacity = needed > old ? std::max(needed, old + old / 2) : old;
  if (state.heads.empty()) state.heads.resize(shape_.kvHeads);
  if (capacity > old) {
    const auto grow = [&](auto& values) {
      std::remove_reference_t<decltype(values)> grown(size_t(capacity) * shape_.kvHeads);
      for (int32_t h = 0; h < shape_.kvHeads; h++) std::copy_n(values.begin() + h * ptrdiff_t{old}, old, grown.begin() + h * ptrdiff_t{capacity});
      values = std::move(grown);
    };
    grow(state.prompt);
    grow(state.mass);
    grow(state.positions);
    state.capacity = capacity;
  }
  for (int32_t h = 0; h < shape_.kvHeads; h++) {
    const size_t at = size_t(h) * state.capacity;
    state.heads[h].prompt = state.prompt.data() + at;
    state.heads[h].positions = state.positions.data() + at;
    state.heads[h].mass = state.mass.data() + at;
  }
}

std::vector<MassRows> MassTracker::begin(int32_t layer, const Step& step) {
  States& states = layers_[layer];
  std::vector<MassRows> all;
  std::unordered_set<int32_t> taken;
  const auto take = [&](const Sequence& sequence) {
    const int32_t first = sequence.blockTable[0], promptRows = promptRowsOf(sequence), end = sequence.contextLength + sequence.rowCount;
    const bool decode = decodesByMass(sequence);
    if ((promptRows == 0 && !decode) || taken.count(first) > 0) return;
    if (sequence.contextLength == 0) states[first] = State{};
    const char* why = nullptr;
    State* state = sequence.contextLength == 0 ? &states[first] : const_cast<State*>(before(states, sequence, &why));
    if (state == nullptr) return;
    taken.insert(first);
    reserve(*state, end);
    if (promptRows > 0) {
      state->promptEnd += promptRows;
      state->promptBlocks.assign(sequence.blockTable, sequence.blockTable + blocksOf(state->promptEnd));
      state->end = -1;
    }
    if (decode) {
      state->end = end;
      state->decodeBlocks.assign(sequence.blockTable, sequence.blockTable + blocksOf(end));
    }
    all.push_back({&sequence, promptRows, state->promptEnd, decode, state->heads.data()});
  };
  // What others overwrite is forgotten. Then those that rank by it have the first choice.
  for (int32_t i = 0; i < step.sequenceCount; i++) {
    std::erase_if(states, [&](const auto& entry) { return overwrites(step.sequences[i], entry.second); });
  }
  for (const bool byMass : {true, false}) {
    for (int32_t i = 0; i < step.sequenceCount; i++) {
      if (decodesByMass(step.sequences[i]) == byMass) take(step.sequences[i]);
    }
  }
  for (int32_t i = 0; i < step.sequenceCount; i++) {
    const bool has = std::any_of(all.begin(), all.end(), [&](const MassRows& rows) { return rows.sequence == step.sequences + i; });
    if (decodesByMass(step.sequences[i]) && !has) {
      throw std::invalid_argument("sequence " + std::to_string(i) + " ranks by mass, and layer " + std::to_string(layer) +
                                  " has no masses before its position " + std::to_string(step.sequences[i].contextLength));
    }
  }
  return all;
}

}  // namespace sparq
