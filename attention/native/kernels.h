// Between attend.cc, which cuts a step into tasks, and the per-ISA files, which run them.
//
// The per-ISA files are compiled with their own -m flags, so what they define must stay in their anonymous namespace, and
// they use no template of the standard library: a shared inline function could otherwise be linked in its AVX-512 form
// and run on a CPU without it.
#pragma once
#include <cstddef>
#include <cstdint>

#include "attention.h"

namespace sparq {

// What a sparse row of one KV head kept; see Observation. `seen`: whether there was such a row.
struct ObservedRow {
  float recall, massKept, alpha;
  bool seen;
};

// What the tasks of one attendLayer call share.
struct LayerCall {
  const KvStore& store;
  const LayerParams& params;
  const Step& step;
  const Projection& q;
  const Projection& k;
  const Projection& v;
  float* out;  // [rows][heads * headDim]
  ObservedRow* observed = nullptr;  // [rows][kvHeads], to be filled if not null
  KernelFault fault = KernelFault::None;
  PhaseTimes* times = nullptr;  // added to if not null
};

// Of a clock that only goes forward.
int64_t nanoseconds();
// May be called by several threads at once.
void addTime(PhaseTimes& times, Phase phase, int64_t nanoseconds);

// Where a task's time goes, if its call asks for it: each end() gives what passed since the one before to a phase. Inlined in any case:
// the linker must not share what was compiled for other instruction sets.
struct Lap {
  [[gnu::always_inline]] explicit Lap(const LayerCall& call) : times(call.times), last(times ? nanoseconds() : 0) {}
  [[gnu::always_inline]] void end(Phase phase) {
    if (!times) return;
    const int64_t now = nanoseconds();
    addTime(*times, phase, now - last);
    last = now;
  }
  PhaseTimes* const times;
  int64_t last;
};

// Writes one sequence's new rows into the pages of one KV head.
struct AppendTask {
  const Sequence* sequence;
  int32_t kvHead;
};

// Dense attention goes over a page in pieces of kKeyTile positions, each with a softmax of its own, merged in order within
// a span of pages; the spans' results are merged in order too. All bounds are absolute, so a row comes out the same
// whether its spans ran in one task or in many. SparQ's scan has spans for the same reason.
constexpr int32_t kKeyTile = 64;
inline int32_t densePagesPerSpan(int32_t blockSize) { return blockSize >= 1024 ? 1 : 1024 / blockSize; }
inline int32_t scanPagesPerSpan(int32_t blockSize) { return blockSize >= 4096 ? 1 : 4096 / blockSize; }

// Rows [rowBegin, rowEnd) of a sequence attend densely: over all their spans, or over one and then `combine`. `decode`: one
// row past the prompt, which has a kernel of its own.
struct DenseTask {
  const Sequence* sequence;
  int32_t kvHead;
  int32_t rowBegin, rowEnd;
  int32_t span;          // -1: all, write the rows' result
  bool decode;
  float* partial;        // span >= 0: [rows * group][headDim + 2], the unnormalised sum of V, its mass, its maximum
};

// Merges the partial results of spans [spanBegin, spanEnd), which stand one after another in `partial`.
struct CombineTask {
  const Sequence* sequence;
  int32_t kvHead;
  int32_t rowBegin, rowEnd;
  int32_t spanBegin, spanEnd;
  bool decode;
  const float* partial;
};

// One decode row of one KV head attends by SparQ. With `scores` set the scan is a task (or several) of its own, over the
// spans [spanBegin, spanEnd), and the rest another, which has all spans.
struct SparqTask {
  const Sequence* sequence;
  int32_t kvHead;
  int32_t row;
  float* scores;  // of sparqScoreFloats() floats, or null: everything in one task
  int32_t spanBegin, spanEnd;
};

// What Rank::Mass knows of one sequence and KV head; see mass.h. Arrays have room for the sequence's positions.
struct MassHead {
  float* prompt;       // the masses that the prompt's rows gave to each position of it
  int32_t* positions;  // what is alive of the decode rows' view, ascending
  float* mass;         // of each of those
  int32_t alive;
};

// Rows of one sequence and KV head, in their order: the first `promptRows` give their mass to the prompt's; the rest, if `decode`,
// go on from what is alive, which begins anew with the prompt's at position `promptEnd`. Rows from `sparseBegin` on attend.
struct MassTask {
  const Sequence* sequence;
  int32_t kvHead;
  int32_t promptRows, sparseBegin, promptEnd;
  bool decode;
  MassHead* state;
};

struct Kernels {
  int32_t tileQueries;  // query vectors (rows times group size) of a prompt that go over a page together
  void (*append)(const LayerCall&, const AppendTask&);
  void (*dense)(const LayerCall&, const DenseTask&);
  void (*combine)(const LayerCall&, const CombineTask&);
  void (*sparqScan)(const LayerCall&, const SparqTask&);    // of tasks with `scores`
  void (*sparqFinish)(const LayerCall&, const SparqTask&);  // the rest, or all
  void (*ranked)(const LayerCall&, const SparqTask&);       // a row of another rank but Mass
  void (*mass)(const LayerCall&, const MassTask&);
};

extern const Kernels scalarKernels;
#if defined(__x86_64__)
extern const Kernels avx2Kernels;
extern const Kernels avx512Kernels;
extern const Kernels avx512VnniKernels;
#elif defined(__aarch64__)
extern const Kernels neonKernels;
extern const Kernels neonDotKernels;
#endif

// Memory of the calling thread, aligned to 64 bytes, at least `bytes` long; good until the thread's next call. Grows and
// stays, so that tasks allocate nothing once warm.
void* threadScratch(size_t bytes);

// The spans that a SparQ row at `position` scans are numbered from its first; how many there are.
inline int32_t scanSpans(int32_t first, int32_t position, int32_t blockSize) {
  const int32_t pages = scanPagesPerSpan(blockSize);
  return position / blockSize / pages - first / blockSize / pages + 1;
}

// What a row's scan leaves: scores [group][positions, padded], their ranking sums [positions, padded], and for each span
// and query head a reference and a mass.
inline size_t sparqScoreFloats(int32_t first, int32_t position, int32_t blockSize, int32_t group) {
  const size_t positions = size_t(position + 1 - first / blockSize * blockSize + 63) / 64 * 64;
  return (group + 1) * positions + 2 * size_t(scanSpans(first, position, blockSize)) * group;
}

// The first position that a row at `position` sees.
inline int32_t firstVisible(int32_t position, int32_t window) {
  return window > 0 && position + 1 > window ? position + 1 - window : 0;
}

}  // namespace sparq
