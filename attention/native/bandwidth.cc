#include "bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

namespace sparq {
namespace {

constexpr int kPasses = 9;
constexpr size_t kLine = 64;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

uint64_t readAll(const uint64_t* from, size_t count) {
  constexpr size_t kLanes = 32;
  uint64_t sums[kLanes] = {};
  for (size_t i = 0; i + kLanes <= count; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; lane++) sums[lane] ^= from[i + lane];
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total ^= sum;
  return total;
}

}  // namespace

double readBandwidth(size_t bytes, int threads) {
  const size_t share = bytes / static_cast<size_t>(threads) / kLine * kLine;
  if (share == 0) throw std::invalid_argument("readBandwidth needs 64 bytes for each thread");
  const std::unique_ptr<void, Free> memory(std::aligned_alloc(kLine, share * threads));
  if (!memory) throw std::bad_alloc();
  std::memset(memory.get(), 1, share * threads);
  const auto* begin = static_cast<const uint64_t*>(memory.get());

  // Threads wait at the start of a pass without sleeping, so that its time is reading alone.
  std::atomic<int> pass{0}, finished{0};
  std::atomic<uint64_t> sink{0};
  const auto readShare = [&](int index) {
    sink ^= readAll(begin + index * share / sizeof(uint64_t), share / sizeof(uint64_t));
    finished++;
  };
  std::vector<std::thread> helpers;
  for (int index = 1; index < threads; index++) {
    helpers.emplace_back([&, index] {
      for (int next = 1; next <= kPasses; next++) {
        while (pass.load() < next) std::this_thread::yield();
        readShare(index);
      }
    });
  }
  std::vector<double> seconds;
  for (int next = 1; next <= kPasses; next++) {
    const auto started = std::chrono::steady_clock::now();
    pass = next;
    readShare(0);
    while (finished.load() < next * threads) std::this_thread::yield();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  }
  for (std::thread& helper : helpers) helper.join();
  std::nth_element(seconds.begin(), seconds.begin() + kPasses / 2, seconds.end());
  return static_cast<double>(share * threads) / seconds[kPasses / 2];
}

}  // namespace sparq
