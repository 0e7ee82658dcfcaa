#include "kernel_bench.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sparq {
namespace {

using Clock = std::chrono::steady_clock;
double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Threads that spin between jobs while they are awake, as a session's do during a step: waking sleeping ones takes longer
// than a short kernel. Asleep they leave the cores to others.
class SpinningPool {
 public:
  explicit SpinningPool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; i++) workers_.emplace_back([this] { work(); });
  }
  ~SpinningPool() {
    setAwake(true, true);
    for (std::thread& worker : workers_) worker.join();
  }
  // Returns when all threads spin.
  void wake() {
    setAwake(true, false);
    while (spinning_ < threads_ - 1) std::this_thread::yield();
  }
  // Returns when none does any more.
  void sleep() {
    setAwake(false, false);
    while (spinning_ > 0) std::this_thread::yield();
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
  void setAwake(bool awake, bool stopping) {
    const std::lock_guard lock(mutex_);
    awake_ = awake;
    stopping_ = stopping;
    changed_.notify_all();
  }
  // A job begins only when all threads spin, and nobody sends them to sleep before it ends: see Awake.
  void work() {
    for (int seen = 0;;) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return awake_.load(); });
        if (stopping_) return;
      }
      spinning_++;
      while (awake_) {
        if (generation_ == seen) {
          pause();
          continue;
        }
        seen = generation_;
        take();
        busy_--;
      }
      spinning_--;
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
  std::atomic<int> generation_{0}, busy_{0}, spinning_{0};
  std::atomic<bool> awake_{false};
  bool stopping_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::thread> workers_;  // last: they use the rest
};

// Keeps a pool's threads awake.
struct Awake {
  explicit Awake(SpinningPool& pool) : pool(pool) { pool.wake(); }
  ~Awake() { pool.sleep(); }
  SpinningPool& pool;
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

// Reads more memory than most last-level caches hold, to push everything else out. One for all benches.
void evictCaches() {
  static const std::vector<uint64_t> memory((size_t{192} << 20) / sizeof(uint64_t), 1);
  sink = readAll(memory.data(), memory.size());
}

// About normal, from a counter: cheap enough for billions, and the same whatever the order (splitmix64's mixing; the sum of
// four uniform 16-bit numbers, of variance 4/12).
float noise(uint64_t counter) {
  uint64_t x = (counter + 1) * 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  x ^= x >> 31;
  const auto sum = static_cast<int32_t>((x & 0xffff) + (x >> 16 & 0xffff) + (x >> 32 & 0xffff) + (x >> 48));
  return static_cast<float>(sum - 2 * 0xffff) * (1.7320508f / 65536);
}

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
  std::vector<float> queries, out;  // [batch][heads * headDim]

  Parts(Path path, const StoreShape& shape, const LayerParams& params, int32_t context, int32_t batch, int32_t threads)
      : path(path), params(params), store(shape), pool(threads), context(context), batch(batch), blocks(shape.blocks),
        queries(batch * queryWidth()), out(batch * queryWidth()) {}

  ptrdiff_t queryWidth() const { return params.heads * ptrdiff_t{params.headDim}; }
  ptrdiff_t keyWidth() const { return params.kvHeads * ptrdiff_t{params.headDim}; }
  int32_t blocksEach() const { return store.shape().blocks / batch; }

  // The sequences with `rows` rows each from `position` on.
  std::vector<Sequence> sequences(int32_t position, int32_t rows, const Settings& settings) const {
    std::vector<Sequence> all;
    for (int32_t s = 0; s < batch; s++) {
      all.push_back({s * rows, rows, position, blocks.data() + s * blocksEach(), blocksEach(), settings});
    }
    return all;
  }
  Projection queryProjection() const { return {queries.data(), queryWidth(), 0, params.headDim}; }

  // All layers get the same keys and values: in different memory, which is what counts.
  void fill() {
    constexpr int32_t kRows = 512;
    const ptrdiff_t width = 2 * keyWidth();
    std::vector<float> rows(size_t(kRows) * batch * width);
    const Projection keys{rows.data(), width, 0, params.headDim}, values{rows.data(), width, keyWidth(), params.headDim};
    for (int32_t done = 0; done < context; done += kRows) {
      const int32_t count = std::min(kRows, context - done);
      auto fillRow = [&](size_t row) {
        const uint64_t first = (row / count * context + done + row % count) * width;
        for (ptrdiff_t c = 0; c < width; c++) rows[row * width + c] = noise(first + c);
      };
      pool.pool().run(&pool, size_t(batch) * count, [](void* user, size_t row) { (*static_cast<decltype(fillRow)*>(user))(row); },
                      &fillRow);
      const std::vector<Sequence> all = sequences(done, count, {});
      const Step step{all.data(), batch, batch * count, nullptr};
      for (params.layer = 0; params.layer < store.shape().layers; params.layer++) {
        appendLayer(path, store, params, step, keys, values, pool.pool());
      }
    }
  }
};

KernelBench::KernelBench(Path path, StoreShape shape, const LayerParams& params, int32_t context, int32_t batch, int32_t threads) {
  const int64_t blocks = int64_t{batch} * ((int64_t{context} + shape.blockSize - 1) / shape.blockSize);
  if (blocks > INT32_MAX) throw std::invalid_argument("a store of " + std::to_string(blocks) + " blocks, at most 2^31 - 1");
  shape.blocks = static_cast<int32_t>(blocks);
  parts_ = std::make_unique<Parts>(path, shape, params, context, batch, threads);
  Parts& p = *parts_;
  p.params.rotaryDim = p.params.window = 0;
  std::mt19937 randomness(1);
  // Neighbouring pages of a sequence need not be neighbours in memory.
  for (size_t i = 0; i < p.blocks.size(); i++) p.blocks[i] = static_cast<int32_t>(i);
  std::shuffle(p.blocks.begin(), p.blocks.end(), randomness);
  std::normal_distribution<float> normal;
  for (float& x : p.queries) x = normal(randomness);
  const Awake awake(p.pool);
  p.fill();
}

KernelBench::~KernelBench() = default;

double KernelBench::run(const Settings& settings, bool naive, bool cold) {
  Parts& p = *parts_;
  if (naive && p.store.shape().dtype != DType::F32) {
    throw std::invalid_argument(std::string("the naive loop reads f32, the store is ") + dtypeName(p.store.shape().dtype));
  }
  const std::vector<Sequence> sequences = p.sequences(p.context - 1, 1, settings);
  const Step step{sequences.data(), p.batch, p.batch, nullptr};
  const Awake awake(p.pool);
  if (cold) evictCaches();
  const auto start = Clock::now();
  for (int32_t layer = 0; layer < p.store.shape().layers; layer++) {
    p.params.layer = layer;
    if (!naive) {
      attendAppended(p.path, p.store, p.params, step, p.queryProjection(), p.out.data(), p.pool.pool(), nullptr);
      continue;
    }
    for (int32_t s = 0; s < p.batch; s++) {
      const ptrdiff_t row = s * p.queryWidth();
      naiveAttention(p.store, p.params, sequences[s], p.queries.data() + row, p.out.data() + row);
    }
  }
  return secondsSince(start);
}

Traffic KernelBench::traffic(const Settings& settings) {
  Parts& p = *parts_;
  Traffic traffic;
  const std::vector<Sequence> sequences = p.sequences(p.context - 1, 1, settings);
  const Step step{sequences.data(), p.batch, p.batch, nullptr};
  const Awake awake(p.pool);
  for (int32_t layer = 0; layer < p.store.shape().layers; layer++) {
    p.params.layer = layer;
    attendAppended(p.path, p.store, p.params, step, p.queryProjection(), p.out.data(), p.pool.pool(), &traffic);
  }
  return traffic;
}

const std::vector<float>& KernelBench::out() const { return parts_->out; }
size_t KernelBench::bytes() const { return parts_->store.bytes(); }

}  // namespace sparq
