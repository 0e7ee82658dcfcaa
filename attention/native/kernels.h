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

// What the tasks of one attendLayer call share.
struct LayerCall {
  const KvStore& store;
  const LayerParams& params;
  const Step& step;
  const Projection& q;
  const Projection& k;
  const Projection& v;
  float* out;  // [rows][heads * headDim]
};

// Writes one sequence's new rows into the pages of one KV head.
struct AppendTask {
  const Sequence* sequence;
  int32_t kvHead;
};

// Online softmax runs page by page within a span of kSpanPages pages, and the spans' results are merged in order. The
// span's bounds are absolute, so a row comes out the same whether its spans ran in one task or in many.
constexpr int32_t kSpanPages = 16;

// Query vectors (rows times group size) that go over a page together.
constexpr int32_t kTileQueries = 32;

// Rows [rowBegin, rowEnd) of a sequence attend densely: over all their spans, or over one and then `combine`.
struct DenseTask {
  const Sequence* sequence;
  int32_t kvHead;
  int32_t rowBegin, rowEnd;
  int32_t span;          // -1: all, write the rows' result
  float* partial;        // span >= 0: [rows * group][headDim + 2], the unnormalised sum of V, its mass, its maximum
};

// Merges the partial results of spans [spanBegin, spanEnd), which stand one after another in `partial`.
struct CombineTask {
  const Sequence* sequence;
  int32_t kvHead;
  int32_t rowBegin, rowEnd;
  int32_t spanBegin, spanEnd;
  const float* partial;
};

// One decode row attends by SparQ.
struct SparqTask {
  const Sequence* sequence;
  int32_t kvHead;
  int32_t row;
};

struct Kernels {
  void (*append)(const LayerCall&, const AppendTask&);
  void (*dense)(const LayerCall&, const DenseTask&);
  void (*combine)(const LayerCall&, const CombineTask&);
  void (*sparq)(const LayerCall&, const SparqTask&);
};

extern const Kernels scalarKernels;
#if defined(__x86_64__)
extern const Kernels avx2Kernels;
extern const Kernels avx512Kernels;
extern const Kernels avx512VnniKernels;
#endif

// Memory of the calling thread, aligned to 64 bytes, at least `bytes` long; good until the thread's next call. Grows and
// stays, so that tasks allocate nothing once warm.
void* threadScratch(size_t bytes);

// The first position that a row at `position` sees.
inline int32_t firstVisible(int32_t position, int32_t window) {
  return window > 0 && position + 1 > window ? position + 1 - window : 0;
}

}  // namespace sparq
