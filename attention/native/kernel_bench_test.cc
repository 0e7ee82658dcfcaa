// What `sparq bench kernel` compares computes the same: the naive loop, dense attention, and SparQ that keeps everything.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>

#include "kernel_bench.h"

using namespace sparq;

namespace {

int checks = 0, failures = 0;

void check(bool holds, const std::string& what) {
  checks++;
  if (holds) return;
  failures++;
  std::printf("FAILED: %s\n", what.c_str());
}

constexpr int32_t kContext = 700, kBatch = 2, kLayers = 2, kHeads = 2, kGroup = 3, kDim = 64;
constexpr Settings kDense{0, 16, 48, 12, 0, 0, 0, 0};

KernelBench benchOf(Path path, DType dtype, DType scan, int32_t threads) {
  const StoreShape shape{kLayers, kHeads, kDim, 64, 1, dtype, scan};
  return {path, shape, {0, kHeads * kGroup, kHeads, kDim, 0.125f, 0, 0, 0}, kContext, kBatch, threads};
}

double largestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = a.size() == b.size() && !a.empty() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); i++) largest = std::max(largest, std::fabs(double(a[i]) - b[i]));
  return largest;
}

uint64_t total(const Traffic& traffic) { return traffic.scoreBytes + traffic.gatherBytes + traffic.denseBytes; }

void testPath(Path path) {
  const std::string name = pathName(path);
  KernelBench f32 = benchOf(path, DType::F32, DType::F32, 2);
  check(f32.run(kDense, true, false) > 0, name + ": the naive loop takes time");
  const std::vector<float> naive = f32.out();
  check(f32.run(kDense, false, false) > 0, name + ": dense attention takes time");
  const std::vector<float> dense = f32.out();
  double size = 0;
  for (float x : naive) size += double(x) * x;
  check(std::sqrt(size / naive.size()) > 1e-3, name + ": the output is not all but zero");
  check(largestDifference(naive, dense) < 1e-5, name + ": dense differs from the naive loop by " +
                                                    std::to_string(largestDifference(naive, dense)));

  // With all components the approximate scores are the exact ones: what is left out is all that is lost, and its mass goes
  // to the mean of V.
  Settings sparq{1, kDim, kContext - 1, 16, 1, 0, 0, 0};
  f32.run(sparq, false, false);
  check(largestDifference(naive, f32.out()) < 1e-3, name + ": SparQ without one position differs by " +
                                                         std::to_string(largestDifference(naive, f32.out())));
  check(f32.out() != dense, name + ": SparQ ran");
  sparq.k = kContext;
  f32.run(sparq, false, false);
  check(f32.out() == dense, name + ": SparQ that keeps all positions is dense attention");

  for (const DType dtype : {DType::F16, DType::BF16, DType::I8, DType::F8}) {
    KernelBench stored = benchOf(path, dtype, DType::I8, 1);
    stored.run(kDense, false, false);
    const double difference = largestDifference(naive, stored.out());
    // Rounding of K and V: a share of 2^-11, 2^-8, 1/127 of the largest, 2^-4. Values are within 3.5.
    const double bound = dtype == DType::F16 ? 1e-3 : dtype == DType::F8 ? 0.1 : 1e-2;
    check(difference < bound, name + ", " + dtypeName(dtype) + ": differs by " + std::to_string(difference));
    bool refused = false;
    try {
      stored.run(kDense, true, false);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    check(refused, name + ", " + dtypeName(dtype) + ": the naive loop refuses what it cannot read");
    check(stored.bytes() < f32.bytes(), name + ", " + dtypeName(dtype) + ": the store is smaller");
  }

  const uint64_t units = uint64_t{kLayers} * kHeads * kBatch;
  check(total(f32.traffic(kDense)) == units * kContext * 2 * kDim * 4, name + ": dense attention reads all keys and values");
  const Traffic kept = f32.traffic({1, 16, 48, 12, 0, 0, 0, 0});
  check(kept.denseBytes == 0 && kept.scoreBytes > units * kContext * 16 * 4 * 9 / 10 &&
            kept.gatherBytes >= units * 48 * 2 * kDim * 4 && total(kept) < total(f32.traffic(kDense)),
        name + ": SparQ reads r components of every key, and what it keeps");
}

}  // namespace

int main() {
  for (const Path path : availablePaths()) testPath(path);
  std::printf("kernel_bench_test: %d checks, %d failures\n", checks, failures);
  return failures > 0;
}
