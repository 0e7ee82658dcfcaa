// One layer's attention over a ragged step: cuts it into tasks for the pool. How the work is cut depends on the step and on
// the number of threads; what comes out does not (see kernels.h).
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels.h"
#include "mass.h"

namespace sparq {
namespace {

const Kernels& kernelsOf(Path path) {
  switch (path) {
#if defined(__x86_64__)
    case Path::Avx2: return avx2Kernels;
    case Path::Avx512: return avx512Kernels;
    case Path::Avx512Vnni: return avx512VnniKernels;
#elif defined(__aarch64__)
    case Path::Neon: return neonKernels;
    case Path::NeonDot: return neonDotKernels;
#endif
    case Path::Scalar: return scalarKernels;
    default: throw std::invalid_argument(std::string("attention path not built: ") + pathName(path));
  }
}

// Tasks of one call; kept by the thread that calls, so that a warm call allocates nothing.
struct Plan {
  std::vector<DenseTask> dense;
  std::vector<SparqTask> sparq;       // whole rows
  std::vector<SparqTask> scans;       // of rows that are cut
  std::vector<SparqTask> finishes;    // the rest of those
  std::vector<CombineTask> combines;
  std::vector<SparqTask> ranked;      // rows of other ranks than SparQ's, whole
  // What of a cut row is left to do; who does the last of it goes on with the finish or combine that it belongs to.
  std::vector<int32_t> denseOwners, scanOwners;      // of the tasks; -1: a dense task that is whole
  std::vector<int32_t> combinesWaitFor, finishesWaitFor;
  std::vector<float> partials, scores;

  void clear() {
    dense.clear();
    sparq.clear();
    scans.clear();
    finishes.clear();
    combines.clear();
    ranked.clear();
    for (std::vector<int32_t>* numbers : {&denseOwners, &scanOwners, &combinesWaitFor, &finishesWaitFor}) numbers->clear();
  }
};

// One part less to wait for; true for the last. What the other parts wrote can be read then.
bool isLast(int32_t& waitFor) { return __atomic_sub_fetch(&waitFor, 1, __ATOMIC_ACQ_REL) == 0; }

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

int spanOf(const LayerCall& call, int position) {
  const int size = call.store.shape().blockSize;
  return position / size / densePagesPerSpan(size);
}

void cutDense(const LayerCall& call, Plan& plan) {
  const int group = call.params.heads / call.params.kvHeads;
  const size_t stride = (call.params.headDim + 15) / 16 * 16 + 2;
  const std::vector<DenseTask> whole(plan.dense.begin(), plan.dense.end());
  plan.dense.clear();
  size_t floats = 0;
  for (const DenseTask& task : whole) {
    const int first = task.sequence->contextLength + task.rowBegin, last = task.sequence->contextLength + task.rowEnd - 1;
    const int begin = spanOf(call, firstVisible(first, call.params.window)), end = spanOf(call, last) + 1;
    if (end - begin == 1) {
      plan.dense.push_back(task);
      plan.denseOwners.push_back(-1);
      continue;
    }
    plan.combinesWaitFor.push_back(end - begin);
    plan.combines.push_back({task.sequence, task.kvHead, task.rowBegin, task.rowEnd, begin, end, task.decode, nullptr});
    floats += size_t(end - begin) * (task.rowEnd - task.rowBegin) * group * stride;
  }
  if (plan.partials.size() < floats) plan.partials.resize(floats);
  float* partial = plan.partials.data();
  for (size_t i = 0; i < plan.combines.size(); i++) {
    CombineTask& combine = plan.combines[i];
    combine.partial = partial;
    for (int span = combine.spanBegin; span < combine.spanEnd; span++) {
      plan.dense.push_back({combine.sequence, combine.kvHead, combine.rowBegin, combine.rowEnd, span, combine.decode, partial});
      plan.denseOwners.push_back(static_cast<int32_t>(i));
      partial += size_t(combine.rowEnd - combine.rowBegin) * group * stride;
    }
  }
}

// Rows that the threads can share out evenly stay whole: a thread then reads the scores that it wrote itself. Whole ones begin.
void cutSparq(const LayerCall& call, int threads, Plan& plan) {
  const int group = call.params.heads / call.params.kvHeads, size = call.store.shape().blockSize;
  size_t floats = 0;
  const auto rangeOf = [&](const SparqTask& task) {
    const int position = task.sequence->contextLength + task.row;
    return std::pair{firstVisible(position, call.params.window), position};
  };
  std::vector<SparqTask> whole;
  whole.swap(plan.sparq);
  const size_t even = whole.size() / threads * threads;
  for (const SparqTask& task : whole) {
    if (plan.sparq.size() < even) {
      plan.sparq.push_back(task);
      continue;
    }
    const auto [first, position] = rangeOf(task);
    const int spans = scanSpans(first, position, size);
    if (spans == 1) {
      plan.sparq.push_back(task);
      continue;
    }
    plan.finishes.push_back({task.sequence, task.kvHead, task.row, nullptr, 0, spans});
    plan.finishesWaitFor.push_back(spans);
    floats += (sparqScoreFloats(first, position, size, group) + 15) / 16 * 16;
  }
  if (plan.scores.size() < floats) plan.scores.resize(floats);
  float* scores = plan.scores.data();
  for (size_t i = 0; i < plan.finishes.size(); i++) {
    SparqTask& finish = plan.finishes[i];
    finish.scores = scores;
    for (int span = 0; span < finish.spanEnd; span++) {
      plan.scans.push_back({finish.sequence, finish.kvHead, finish.row, scores, span, span + 1});
      plan.scanOwners.push_back(static_cast<int32_t>(i));
    }
    const auto [first, position] = rangeOf(finish);
    scores += (sparqScoreFloats(first, position, size, group) + 15) / 16 * 16;
  }
}

void planTasks(const LayerCall& call, int tileQueries, int threads, Plan& plan) {
  const int kvHeads = call.params.kvHeads, group = call.params.heads / kvHeads;
  const int mostRows = std::max(1, tileQueries / group);
  plan.clear();
  for (int s = 0; s < call.step.sequenceCount; s++) {
    const Sequence& sequence = call.step.sequences[s];
    const int dense = denseRows(call, sequence);
    const int prompt = std::clamp(sequence.settings.denseUntil - sequence.contextLength, 0, sequence.rowCount);
    const int tiles = (prompt + mostRows - 1) / mostRows, tileRows = tiles == 0 ? 1 : (prompt + tiles - 1) / tiles;
    for (int head = 0; head < kvHeads; head++) {
      // The last tiles see the most; they go first, so that the pool ends evenly.
      for (int end = prompt; end > 0; end -= tileRows) {
        plan.dense.push_back({&sequence, head, end > tileRows ? end - tileRows : 0, end, -1, false, nullptr});
      }
      for (int row = prompt; row < dense; row++) plan.dense.push_back({&sequence, head, row, row + 1, -1, true, nullptr});
      const auto rank = static_cast<Rank>(sequence.settings.rank);
      if (rank == Rank::Mass) continue;
      std::vector<SparqTask>& sparse = rank == Rank::Sparq ? plan.sparq : plan.ranked;
      for (int row = dense; row < sequence.rowCount; row++) sparse.push_back({&sequence, head, row, nullptr, 0, 0});
    }
  }
  // Too few tasks for the threads: cut long rows at their spans.
  if (threads == 1 || plan.dense.size() + plan.sparq.size() >= size_t(4) * threads) return;
  cutDense(call, plan);
  cutSparq(call, threads, plan);
}

template <typename Body>
void run(const Pool& pool, size_t n, const Body& body) {
  if (n == 1) return body(0);
  if (n > 0) {
    pool.run(pool.context, n, [](void* user, size_t i) { (*static_cast<const Body*>(user))(i); }, const_cast<Body*>(&body));
  }
}

void addTraffic(const LayerCall& call, Traffic& traffic) {
  const StoreShape& shape = call.store.shape();
  const uint64_t d = call.params.headDim, heads = call.params.kvHeads, size = shape.blockSize;
  const uint64_t token = 2 * (d * elementBytes(shape.dtype) + (hasScale(shape.dtype) ? sizeof(float) : 0));
  const uint64_t scanned = elementBytes(shape.scanDtype), range = shape.scanDtype == DType::I8 ? sizeof(uint32_t) : 0;
  for (int s = 0; s < call.step.sequenceCount; s++) {
    const Sequence& sequence = call.step.sequences[s];
    const Settings& settings = sequence.settings;
    const int dense = denseRows(call, sequence);
    for (int row = 0; row < sequence.rowCount; row++) {
      const uint64_t position = sequence.contextLength + row, visible = visibleAt(call, static_cast<int>(position));
      traffic.denseEquivalentBytes += heads * visible * token;
      if (row < dense) {
        traffic.denseBytes += heads * visible * token;
        continue;
      }
      const uint64_t first = position + 1 - visible, pages = position / size - first / size + 1;
      const uint64_t own = std::min(position % size + 1, visible), r = settings.r, k = settings.k;
      const auto rank = static_cast<Rank>(settings.rank);
      if (rank == Rank::Sparq) traffic.scoreBytes += heads * ((visible - own) * r * scanned + (pages - 1) * r * range + own * token / 2);
      if (rank == Rank::Exact) traffic.scoreBytes += heads * visible * token / 2;
      if (rank == Rank::Mass) traffic.scoreBytes += heads * k * sizeof(float);
      // With all keys read there are but values to gather.
      const uint64_t gathered = rank == Rank::Exact ? k * token / 2 : k * token;
      traffic.gatherBytes += heads * (gathered + (settings.meanValue ? pages * d * sizeof(float) : 0));
    }
  }
}

// The tasks of Rank::Mass: prompts' rows of any rank, and its own decode rows.
std::vector<MassTask> massTasks(const LayerCall& call) {
  std::vector<MassTask> tasks;
  for (const MassRows& rows : call.store.masses()->begin(call.params.layer, call.step)) {
    const Sequence& sequence = *rows.sequence;
    for (int head = 0; head < call.params.kvHeads; head++) {
      tasks.push_back({&sequence, head, rows.promptRows, denseRows(call, sequence), rows.promptEnd, rows.decode, rows.heads + head});
    }
  }
  return tasks;
}

void addObserved(const LayerCall& call, Observation& observation) {
  const int heads = call.params.kvHeads;
  for (int row = 0; row < call.step.rows; row++) {
    for (const ObservedRow* seen = call.observed + size_t(row) * heads; seen < call.observed + size_t(row + 1) * heads; seen++) {
      if (!seen->seen) continue;
      observation.rows += 1.0 / heads;
      observation.recall += double(seen->recall) / heads;
      observation.massKept += double(seen->massKept) / heads;
      observation.alpha += double(seen->alpha) / heads;
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

int64_t nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void addTime(PhaseTimes& times, Phase phase, int64_t nanoseconds) {
  __atomic_fetch_add(&times.of[static_cast<int>(phase)], nanoseconds, __ATOMIC_RELAXED);
}

void appendLayer(Path path, KvStore& store, const LayerParams& params, const Step& step, const Projection& k,
                 const Projection& v, const Pool& pool, PhaseTimes* times) {
  const Kernels& kernels = kernelsOf(path);
  const LayerCall call{store, params, step, k, k, v, nullptr, nullptr, KernelFault::None, times};
  const size_t heads = params.kvHeads;
  run(pool, step.sequenceCount * heads, [&](size_t i) {
    Lap lap(call);
    kernels.append(call, {step.sequences + i / heads, static_cast<int32_t>(i % heads)});
    lap.end(Phase::Append);
  });
}

void attendAppended(Path path, const KvStore& store, const LayerParams& params, const Step& step, const Projection& q, float* out,
                    const Pool& pool, Traffic* traffic, const Evaluation& evaluation) {
  thread_local Plan plan;
  Plan& tasks = plan;  // the pool's threads must see this thread's
  const Kernels& kernels = kernelsOf(path);
  std::vector<ObservedRow> observed(evaluation.observation ? size_t(step.rows) * params.kvHeads : 0);
  const LayerCall call{store, params, step, q, q, q, out, evaluation.observation ? observed.data() : nullptr, evaluation.fault,
                       evaluation.times};
  planTasks(call, kernels.tileQueries, pool.threads, tasks);
  const size_t dense = tasks.dense.size(), scans = tasks.scans.size();
  const size_t whole = tasks.sparq.size();
  run(pool, whole + dense + scans, [&](size_t i) {
    if (i < whole) {
      kernels.sparqFinish(call, tasks.sparq[i]);
    } else if (i < whole + dense) {
      i -= whole;
      Lap lap(call);
      kernels.dense(call, tasks.dense[i]);
      const int32_t owner = tasks.denseOwners.empty() ? -1 : tasks.denseOwners[i];
      if (owner >= 0 && isLast(tasks.combinesWaitFor[owner])) kernels.combine(call, tasks.combines[owner]);
      lap.end(Phase::Dense);
    } else {
      i -= whole + dense;
      kernels.sparqScan(call, tasks.scans[i]);
      const int32_t owner = tasks.scanOwners[i];
      if (isLast(tasks.finishesWaitFor[owner])) kernels.sparqFinish(call, tasks.finishes[owner]);
    }
  });
  run(pool, tasks.ranked.size(), [&](size_t i) {
    Lap lap(call);
    kernels.ranked(call, tasks.ranked[i]);
    lap.end(Phase::Other);
  });
  if (store.masses()) {
    const std::vector<MassTask> mass = massTasks(call);
    run(pool, mass.size(), [&](size_t i) {
      Lap lap(call);
      kernels.mass(call, mass[i]);
      lap.end(Phase::Other);
    });
  }
  if (evaluation.observation) addObserved(call, *evaluation.observation);
  if (traffic) addTraffic(call, *traffic);
}

void attendLayer(Path path, KvStore& store, const LayerParams& params, const Step& step, const Projection& q,
                 const Projection& k, const Projection& v, float* out, const Pool& pool, Traffic* traffic,
                 const Evaluation& evaluation) {
  appendLayer(path, store, params, step, k, v, pool, evaluation.times);
  attendAppended(path, store, params, step, q, out, pool, traffic, evaluation);
}

}  // namespace sparq
