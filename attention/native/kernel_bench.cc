#include "kernel_bench.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

namespace sparq {
namespace {

using Clock = std::chrono::steady_clock;
double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Threads that spin between jobs, as a session's do during a step: waking sleeping ones takes longer than a short kernel.
class SpinningPool {
 public:
  explicit SpinningPool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; i++) workers_.emplace_back([this] { work(); });
  }
  ~SpinningPool() {
    stopping_ = true;
    for (std::thread& worker : workers_) worker.join();
  }
  Pool pool() {
    return {this, [](void* self, size_t n, void (*task)(void*, size_t), void* user) { static_cast<SpinningPool*>(self)->run(n, task, user); },
            threads_};
  }

 private:
  void run(size_t n, void (*task)(void*, size_t), void* user) {
    task_ = task;
    user_ = user;
    total_ = n;
    next_ = 0;
    busy_ = threads_ - 1;
    generation_++;
    take();
    while (busy_ > 0) pause();
  }
  void take() {
    for (size_t i; (i = next_++) < total_;) task_(user_, i);
  }
  void work() {
    for (int seen = 0;;) {
      while (generation_ == seen) {
        if (stopping_) return;
        pause();
      }
      seen = generation_;
      take();
      busy_--;
    }
  }
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  const int threads_;
  void (*task_)(void*, size_t) = nullptr;
  void* user_ = nullptr;
  size_t total_ = 0;
  std::atomic<size_t> next_{0};
  std::atomic<int> generation_{0}, busy_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

// Reads every cache line; the sum is there so that the reads are.
uint64_t readAll(const uint64_t* data, size_t words) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i + 8 <= words; i += 8) {
    for (int j = 0; j < 8; j++) sums[j] ^= data[i + j];
  }
  return sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
}

std::atomic<uint64_t> sink;

// Larger than any last-level cache's share of one process here; read to push everything else out.
constexpr size_t kEvictionWords = (size_t{192} << 20) / sizeof(uint64_t);

float number(const char* row, int c) {
  float x;
  std::memcpy(&x, row + c * sizeof(float), sizeof x);
  return x;
}

// Dense attention of one query as it is written in a textbook.
void naiveAttention(const KvStore& store, const LayerParams& params, const Sequence& sequence, const float* q, float* out) {
  const int d = params.headDim, size = store.shape().blockSize, group = params.heads / params.kvHeads, n = sequence.contextLength + 1;
  std::vector<float> weights(n);
  for (int head = 0; head < params.heads; head++) {
    float largest = -INFINITY, mass = 0;
    for (int j = 0; j < n; j++) {
      const char* key = store.page(params.layer, sequence.blockTable[j / size], head / group).keys + j % size * store.tokenBytes();
      float dot = 0;
      for (int c = 0; c < d; c++) dot += q[head * d + c] * number(key, c);
      weights[j] = dot * params.scale;
      largest = std::max(largest, weights[j]);
    }
    for (int j = 0; j < n; j++) mass += weights[j] = std::exp(weights[j] - largest);
    std::fill_n(out + head * d, d, 0.0f);
    for (int j = 0; j < n; j++) {
      const char* value = store.page(params.layer, sequence.blockTable[j / size], head / group).values + j % size * store.tokenBytes();
      for (int c = 0; c < d; c++) out[head * d + c] += weights[j] / mass * number(value, c);
    }
  }
}

}  // namespace

struct KernelBench::Parts {
  Path path;
  LayerParams params;
  KvStore store;
  SpinningPool pool;
  int32_t context, batch;
  std::vector<int32_t> blocks;
  std::vector<float> qkv, out;
  std::vector<uint64_t> eviction;

  Parts(Path path, const StoreShape& shape, const LayerParams& params, int32_t context, int32_t batch, int32_t threads)
      : path(path), params(params), store(shape), pool(threads), context(context), batch(batch), blocks(shape.blocks),
        eviction(kEvictionWords, 1) {}

  ptrdiff_t width() const { return (params.heads + 2 * params.kvHeads) * ptrdiff_t{params.headDim}; }
  int32_t blocksEach() const { return store.shape().blocks / batch; }

  // The sequences with `rows` rows each from `position` on.
  std::vector<Sequence> sequences(int32_t position, int32_t rows, const Settings& settings) const {
    std::vector<Sequence> all;
    for (int32_t s = 0; s < batch; s++) {
      all.push_back({s * rows, rows, position, blocks.data() + s * blocksEach(), blocksEach(), settings});
    }
    return all;
  }
  Projection projection(ptrdiff_t offset) const { return {qkv.data(), width(), offset, params.headDim}; }
};

KernelBench::KernelBench(Path path, StoreShape shape, const LayerParams& params, int32_t context, int32_t batch, int32_t threads) {
  shape.blocks = batch * ((context + shape.blockSize - 1) / shape.blockSize);
  parts_ = std::make_unique<Parts>(path, shape, params, context, batch, threads);
  Parts& p = *parts_;
  p.params.rotaryDim = p.params.window = 0;
  std::mt19937 randomness(1);
  // Neighbouring pages of a sequence need not be neighbours in memory.
  for (size_t i = 0; i < p.blocks.size(); i++) p.blocks[i] = static_cast<int32_t>(i);
  std::shuffle(p.blocks.begin(), p.blocks.end(), randomness);
  // Noise of a few thousand rows, over and over from different places.
  constexpr int kRows = 512;
  std::normal_distribution<float> normal;
  p.qkv.resize(size_t(kRows) * std::max(batch, 4) * p.width());
  for (float& x : p.qkv) x = normal(randomness);
  const ptrdiff_t kOffset = p.params.heads * ptrdiff_t{p.params.headDim}, vOffset = kOffset + p.params.kvHeads * ptrdiff_t{p.params.headDim};
  for (int32_t layer = 0; layer < shape.layers; layer++) {
    p.params.layer = layer;
    for (int32_t done = 0; done < context; done += kRows) {
      const std::vector<Sequence> sequences = p.sequences(done, std::min(kRows, context - done), {});
      const Step step{sequences.data(), batch, batch * sequences[0].rowCount, nullptr};
      appendLayer(path, p.store, p.params, step, p.projection(kOffset), p.projection(vOffset), p.pool.pool());
    }
  }
  p.out.resize(size_t(batch) * kOffset);
}

KernelBench::~KernelBench() = default;

double KernelBench::run(const Settings& settings, bool naive, bool cold) {
  Parts& p = *parts_;
  if (naive && p.store.shape().dtype != DType::F32) throw std::invalid_argument("the naive loop reads f32 only");
  const std::vector<Sequence> sequences = p.sequences(p.context - 1, 1, settings);
  const Step step{sequences.data(), p.batch, p.batch, nullptr};
  if (cold) sink = readAll(p.eviction.data(), p.eviction.size());
  const auto start = Clock::now();
  for (int32_t layer = 0; layer < p.store.shape().layers; layer++) {
    p.params.layer = layer;
    if (!naive) {
      attendAppended(p.path, p.store, p.params, step, p.projection(0), p.out.data(), p.pool.pool(), nullptr);
      continue;
    }
    for (int32_t s = 0; s < p.batch; s++) {
      const ptrdiff_t width = p.params.heads * ptrdiff_t{p.params.headDim};
      naiveAttention(p.store, p.params, sequences[s], p.qkv.data() + s * p.width(), p.out.data() + s * width);
    }
  }
  return secondsSince(start);
}

Traffic KernelBench::traffic(const Settings& settings) {
  Parts& p = *parts_;
  Traffic traffic;
  const std::vector<Sequence> sequences = p.sequences(p.context - 1, 1, settings);
  const Step step{sequences.data(), p.batch, p.batch, nullptr};
  for (int32_t layer = 0; layer < p.store.shape().layers; layer++) {
    p.params.layer = layer;
    attendAppended(p.path, p.store, p.params, step, p.projection(0), p.out.data(), p.pool.pool(), &traffic);
  }
  return traffic;
}

}  // namespace sparq
