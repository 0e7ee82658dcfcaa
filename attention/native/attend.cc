// One layer's attention over a ragged step: cuts it into tasks for the pool. How the work is cut depends on the step and on
// the number of threads; what comes out does not (see kernels.h).
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace sparq {
namespace {

const Kernels& kernelsOf(Path path) {
  switch (path) {
#if defined(__x86_64__)
    case Path::Avx2: return avx2Kernels;
    case Path::Avx512: return avx512Kernels;
    case Path::Avx512Vnni: return avx512VnniKernels;
#endif
    case Path::Scalar: return scalarKernels;
    default: throw std::invalid_argument(std::string("attention path not built: ") + pathName(path));
  }
}

// Tasks of one call; kept by the thread that calls, so that a warm call allocates nothing.
struct Plan {
  std::vector<AppendTask> appends;
  std::vector<DenseTask> dense;
  std::vector<SparqTask> sparq;
  std::vector<CombineTask> combines;
  std::vector<float> partials;
};

int visibleAt(const LayerCall& call, int position) { return position + 1 - firstVisible(position, call.params.window); }

// Rows of a sequence that attend densely come first: both the prompt's end and the k-th visible position are bounds
// that positions cross once.
int denseRows(const LayerCall& call, const Sequence& sequence) {
  const Settings& settings = sequence.settings;
  if (settings.mode != static_cast<int32_t>(Mode::Sparq)) return sequence.rowCount;
  int rows = 0;
  while (rows < sequence.rowCount) {
    const int position = sequence.contextLength + rows;
    if (position >= settings.denseUntil && visibleAt(call, position) > settings.k) break;
    rows++;
  }
  return rows;
}

int spanOf(const LayerCall& call, int position) { return position / call.store.shape().blockSize / kSpanPages; }

void planTasks(const LayerCall& call, int threads, Plan& plan) {
  const int kvHeads = call.params.kvHeads, group = call.params.heads / kvHeads;
  const int tileRows = group >= kTileQueries ? 1 : kTileQueries / group;
  plan.appends.clear();
  plan.dense.clear();
  plan.sparq.clear();
  plan.combines.clear();
  for (int s = 0; s < call.step.sequenceCount; s++) {
    const Sequence& sequence = call.step.sequences[s];
    const int dense = denseRows(call, sequence);
    for (int head = 0; head < kvHeads; head++) {
      if (sequence.rowCount > 0) plan.appends.push_back({&sequence, head});
      // The last tiles see the most; they go first, so that the pool ends evenly.
      for (int end = dense; end > 0; end -= tileRows) {
        plan.dense.push_back({&sequence, head, end > tileRows ? end - tileRows : 0, end, -1, nullptr});
      }
      for (int row = dense; row < sequence.rowCount; row++) plan.sparq.push_back({&sequence, head, row});
    }
  }
  // Too few tasks for the threads: cut long rows at their spans.
  if (threads == 1 || plan.dense.empty() || plan.dense.size() + plan.sparq.size() >= size_t(4) * threads) return;
  const size_t stride = (call.params.headDim + 15) / 16 * 16 + 2;
  const std::vector<DenseTask> whole(plan.dense.begin(), plan.dense.end());
  plan.dense.clear();
  size_t floats = 0;
  for (const DenseTask& task : whole) {
    const int first = task.sequence->contextLength + task.rowBegin, last = task.sequence->contextLength + task.rowEnd - 1;
    const int begin = spanOf(call, firstVisible(first, call.params.window)), end = spanOf(call, last) + 1;
    if (end - begin == 1) {
      plan.dense.push_back(task);
      continue;
    }
    plan.combines.push_back({task.sequence, task.kvHead, task.rowBegin, task.rowEnd, begin, end, nullptr});
    floats += size_t(end - begin) * (task.rowEnd - task.rowBegin) * group * stride;
  }
  if (plan.partials.size() < floats) plan.partials.resize(floats);
  float* partial = plan.partials.data();
  for (CombineTask& combine : plan.combines) {
    combine.partial = partial;
    for (int span = combine.spanBegin; span < combine.spanEnd; span++) {
      plan.dense.push_back({combine.sequence, combine.kvHead, combine.rowBegin, combine.rowEnd, span, partial});
      partial += size_t(combine.rowEnd - combine.rowBegin) * group * stride;
    }
  }
}

template <typename Body>
void run(const Pool& pool, size_t n, const Body& body) {
  if (n == 1) return body(0);
  if (n > 0) {
    pool.run(pool.context, n, [](void* user, size_t i) { (*static_cast<const Body*>(user))(i); }, const_cast<Body*>(&body));
  }
}

void addTraffic(const LayerCall& call, Traffic& traffic) {
  const uint64_t d = call.params.headDim, bytes = sizeof(float) * uint64_t(call.params.kvHeads);
  const int size = call.store.shape().blockSize;
  for (int s = 0; s < call.step.sequenceCount; s++) {
    const Sequence& sequence = call.step.sequences[s];
    const Settings& settings = sequence.settings;
    const int dense = denseRows(call, sequence);
    for (int row = 0; row < sequence.rowCount; row++) {
      const int position = sequence.contextLength + row;
      const uint64_t visible = visibleAt(call, position);
      traffic.denseEquivalentBytes += bytes * 2 * visible * d;
      if (row < dense) {
        traffic.denseBytes += bytes * 2 * visible * d;
        continue;
      }
      const uint64_t pages = position / size - firstVisible(position, call.params.window) / size + 1;
      traffic.scoreBytes += bytes * visible * uint64_t(settings.r);
      traffic.gatherBytes += bytes * d * (2 * uint64_t(settings.k) + (settings.meanValue ? pages : 0));
    }
  }
}

struct FreeDeleter {
  void operator()(void* memory) const { std::free(memory); }
};

}  // namespace

void* threadScratch(size_t bytes) {
  thread_local std::unique_ptr<void, FreeDeleter> memory;
  thread_local size_t capacity = 0;
  if (bytes > capacity) {
    const size_t wanted = (bytes + bytes / 2 + 4095) / 4096 * 4096;
    memory.reset();
    capacity = 0;
    memory.reset(std::aligned_alloc(64, wanted));
    if (!memory) throw std::bad_alloc();
    capacity = wanted;
  }
  return memory.get();
}

void attendLayer(Path path, KvStore& store, const LayerParams& params, const Step& step, const Projection& q,
                 const Projection& k, const Projection& v, float* out, const Pool& pool, Traffic* traffic) {
  thread_local Plan plan;
  Plan& tasks = plan;  // the pool's threads must see this thread's
  const Kernels& kernels = kernelsOf(path);
  const LayerCall call{store, params, step, q, k, v, out};
  planTasks(call, pool.threads, tasks);
  run(pool, tasks.appends.size(), [&](size_t i) { kernels.append(call, tasks.appends[i]); });
  const size_t dense = tasks.dense.size();
  run(pool, dense + tasks.sparq.size(), [&](size_t i) {
    if (i < dense) kernels.dense(call, tasks.dense[i]);
    else kernels.sparq(call, tasks.sparq[i - dense]);
  });
  run(pool, tasks.combines.size(), [&](size_t i) { kernels.combine(call, tasks.combines[i]); });
  if (traffic) addTraffic(call, *traffic);
}

}  // namespace sparq
