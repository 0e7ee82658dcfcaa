// What Rank::Mass ranks by (H2O, arXiv 2306.14048): the softmax mass that each position got from the rows so far, summed over
// the query heads of a KV head. For evaluation: prompts take a second pass over their keys.
//
// All prompts of a store that tracks masses are tracked. Their masses belong to the layer and to the block that holds a
// sequence's first position, and are good for one sequence: its prompt's rows have come in order from position 0 on, into
// blocks that have not been written by another since. The first decode row, at the prompt's end, begins with a copy of
// the prompt's masses; each decode row that follows it drops what it does not keep, and adds its own weights to what it does.
// A sequence may go back to its prompt's end and decode again, and nowhere else. Rows that do not follow so are refused: a
// prompt that begins with cached pages of another sequence, a fork, drafts that are taken back.
#pragma once
#include <unordered_map>
#include <vector>

#include "attention.h"
#include "kernels.h"

namespace sparq {

// A sequence's rows of one step that masses are kept of. `promptRows` lead; `decode`: the others too.
struct MassRows {
  const Sequence* sequence;
  int32_t promptRows, promptEnd;
  bool decode;
  MassHead* heads;  // [kvHeads]
};

class MassTracker {
 public:
  explicit MassTracker(const StoreShape& shape) : shape_(shape), layers_(shape.layers) {}

  // Before a step: throws std::invalid_argument, with the sequence's index, for decode rows of Rank::Mass that cannot follow.
  void check(const std::vector<Sequence>& sequences, int32_t layer = 0) const;
  // Takes up a layer's rows of a step that passed the check. The heads are good until the layer's next.
  std::vector<MassRows> begin(int32_t layer, const Step& step);

 private:
  struct State {
    std::vector<int32_t> promptBlocks, decodeBlocks;  // of positions 0..promptEnd - 1 and 0..end - 1
    int32_t promptEnd = 0, end = -1;                  // end < 0: no decode row yet
    std::vector<float> prompt, mass;                  // [kvHeads][capacity], as `positions`
    std::vector<int32_t> positions;
    std::vector<MassHead> heads;
    int32_t capacity = 0;
  };
  using States = std::unordered_map<int32_t, State>;  // by the first block

  int32_t blocksOf(int32_t positions) const { return (positions + shape_.blockSize - 1) / shape_.blockSize; }
  bool overwrites(const Sequence& sequence, const State& state) const;
  const State* before(const States& states, const Sequence& sequence, const char** why) const;
  void reserve(State& state, int32_t positions) const;

  const StoreShape shape_;
  std::vector<States> layers_;
};

}  // namespace sparq
