// Random steps, most of them broken in one place: the check must refuse them or the kernels must be able to run them, which
// the sanitizers watch.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <vector>

#include "rope.h"
#include "step_input.h"
#include "worker_pool.h"

namespace {

using namespace sparq;

constexpr StoreShape kShape{.layers = 3, .kvHeads = 1, .headDim = 8, .blockSize = 16, .blocks = 12};
constexpr int32_t kVocabulary = 20, kRelayWidth = 2;

std::mt19937 generator(7);
int32_t pick(int32_t low, int32_t high) { return std::uniform_int_distribution<int32_t>(low, high)(generator); }

// The last sequences pass through some layers only.
void addTail(StepInput& input) {
  Tail& tail = input.tail;
  tail.firstSequence = pick(1, input.batch.sequenceCount() - 1);
  tail.beginLayer = pick(0, kShape.layers - 1);
  tail.endLayer = pick(tail.beginLayer + 1, kShape.layers);
  const int32_t first = input.batch.rowStarts[tail.firstSequence];
  if (tail.beginLayer > 0) tail.hidden.resize((input.batch.rowCount() - first) * kRelayWidth);
  while (tail.endLayer < kShape.layers && !input.logitRows.empty() && input.logitRows.back() >= first) input.logitRows.pop_back();
}

// A step that keeps every rule: each sequence has blocks of its own.
StepInput goodStep() {
  StepInput input{.batch = {.rowStarts = {0}, .contextLengths = {}, .blockTables = {}, .blockTableStarts = {0}, .settings = {}},
                  .tokenIds = {},
                  .logitRows = {}};
  Batch& batch = input.batch;
  int32_t nextBlock = 0;
  for (int32_t count = pick(1, 3); count > 0; count--) {
    const int32_t rows = pick(1, 20), context = pick(0, 40);
    const int32_t blocks = (rows + context + kShape.blockSize - 1) / kShape.blockSize;
    for (int32_t i = 0; i < blocks; i++) batch.blockTables.push_back(nextBlock++);
    batch.blockTableStarts.push_back(nextBlock);
    batch.contextLengths.push_back(context);
    batch.rowStarts.push_back(batch.rowStarts.back() + rows);
    const int32_t k = pick(1, 10), local = pick(0, k), rank = pick(0, 3);
    batch.settings.insert(batch.settings.end(), {pick(0, 1), pick(1, 8), k, local, rank < 2 ? pick(0, 1) : 0, pick(0, 1), pick(0, 9), 0,
                                                 rank, pick(0, k - local)});
  }
  for (int32_t row = 0; row < batch.rowCount(); row++) {
    input.tokenIds.push_back(pick(0, kVocabulary - 1));
    if (pick(0, 1)) input.logitRows.push_back(row);
  }
  if (pick(0, 1) && batch.sequenceCount() > 1) addTail(input);
  return input;
}

// One value, or the length of one array, becomes anything.
void breakSomething(StepInput& input) {
  Batch& batch = input.batch;
  std::vector<int32_t>* const arrays[] = {&batch.rowStarts,       &batch.contextLengths, &batch.blockTables,
                                          &batch.blockTableStarts, &batch.settings,      &input.tokenIds,
                                          &input.logitRows};
  int32_t* const numbers[] = {&input.tail.firstSequence, &input.tail.beginLayer, &input.tail.endLayer};
  const int32_t extremes[] = {INT32_MIN, INT32_MAX, -1, 0, 1, pick(INT32_MIN, INT32_MAX), pick(-3, 30), pick(-3, 30)};
  if (input.tail.present() && pick(0, 2) == 0) {
    if (pick(0, 3) == 0) input.tail.hidden.resize(pick(0, 80));
    else *numbers[pick(0, 2)] = extremes[pick(0, 7)];
    return;
  }
  std::vector<int32_t>& array = *arrays[pick(0, 6)];
  if (array.empty() || pick(0, 4) == 0) {
    array.resize(pick(0, static_cast<int32_t>(array.size()) + 2));
    return;
  }
  array[pick(0, static_cast<int32_t>(array.size()) - 1)] = extremes[pick(0, 7)];
}

void attend(KvStore& store, WorkerPool& pool, const StepInput& input) {
  const std::vector<Sequence> sequences = input.batch.sequences();
  const int32_t rows = input.batch.rowCount();
  std::vector<float> qkv(size_t(rows) * 3 * kShape.headDim), out(size_t(rows) * kShape.headDim), cosSin;
  for (float& value : qkv) value = static_cast<float>(pick(-100, 100)) / 50;
  fillCosSin(positionsOf(sequences, rows), {1.0f, 0.1f}, 1.0f, cosSin);
  const LayerParams params{.layer = 0, .heads = 1, .kvHeads = 1, .headDim = 8, .scale = 0.4f, .window = 0, .rotaryDim = 4,
                           .interleaved = 0};
  const Step step{sequences.data(), static_cast<int32_t>(sequences.size()), rows, cosSin.data()};
  const auto projection = [&](ptrdiff_t offset) { return Projection{qkv.data(), 3 * kShape.headDim, offset, kShape.headDim}; };
  attendLayer(Path::Scalar, store, params, step, projection(0), projection(8), projection(16), out.data(), pool.pool(), nullptr);
}

}  // namespace

int main() {
  KvStore store(kShape);
  WorkerPool pool(2);
  int refused = 0, accepted = 0, tails = 0;
  for (int i = 0; i < 20000; i++) {
    StepInput input = goodStep();
    const bool broken = i % 4 != 0;
    if (broken) breakSomething(input);
    try {
      checkStep(input, kShape, kVocabulary, kRelayWidth);
    } catch (const std::invalid_argument& error) {
      refused++;
      if (broken) continue;
      std::printf("FAILED: a good step is refused: %s\n", error.what());
      return 1;
    }
    accepted++;
    const Tail& tail = input.tail;
    if (tail.present()) {
      // What the graph reads and writes of it.
      const size_t rows = input.batch.rowCount() - input.batch.rowStarts.at(tail.firstSequence);
      const bool fits = tail.hidden.size() == (tail.beginLayer > 0 ? rows * kRelayWidth : 0) && rows > 0 &&
                        tail.firstSequence > 0 && tail.isIn(tail.beginLayer) && !tail.isIn(tail.endLayer);
      if (!fits) {
        std::printf("FAILED: a tail that does not fit was let through\n");
        return 1;
      }
      tails++;
    }
    attend(store, pool, input);
  }
  if (refused < 5000 || accepted < 5000 || tails < 1000) {
    std::printf("FAILED: %d refused, %d accepted: the steps test nothing\n", refused, accepted);
    return 1;
  }
  std::printf("step_input_test: ok, %d steps refused, %d run\n", refused, accepted);
  return 0;
}
