// Top-k selection alone, in its portable form: against a stable sort, on the inputs that such code gets wrong.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>
#include <random>
#include <tuple>
#include <vector>

#include "simd_scalar.h"

using namespace sparq;

namespace sparq {
namespace {
#include "body_math.inc"
#include "body_convert.inc"
#include "body_select.inc"
}  // namespace
}  // namespace sparq

namespace {


std::mt19937 randomness(7);

std::vector<int32_t> sorted(const std::vector<float>& x, int k) {
  std::vector<int32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return x[a] > x[b]; });
  order.resize(std::min<size_t>(k, x.size()));
  std::sort(order.begin(), order.end());
  return order;
}

bool agrees(const std::vector<float>& x, int k, const char* name) {
  std::vector<int32_t> chosen(x.size() + 1, -1);
  std::vector<char> scratch(selectScratchBytes(static_cast<int>(x.size())));
  Arena arena{scratch.data()};
  chosen.resize(selectLargest(x.data(), static_cast<int>(x.size()), k, chosen.data(), arena));
  if (arena.next > scratch.data() + scratch.size()) std::printf("FAILED: select_test %s overruns its scratch memory\n", name);
  if (chosen == sorted(x, k)) return true;
  std::printf("FAILED: select_test %s, n %zu, k %d\n", name, x.size(), k);
  return false;
}

// P(X <= most) of X ~ Binomial(n, p).
double binomialCdf(int most, int n, double p) {
  double term = std::pow(1 - p, n), sum = term;
  for (int i = 0; i < std::min(most, n); i++) {
    term *= (n - i) * p / ((i + 1) * (1 - p));
    sum += term;
  }
  return sum;
}

// Of bucketed top-k over many values in random order, arXiv 2412.04358: the j-th largest is found if fewer than
// `perBucket` of the j larger ones are in its bucket, each by the given chance.
double expectedRecall(int k, int perBucket, double chance) {
  double found = perBucket;
  for (int j = perBucket; j < k; j++) found += binomialCdf(perBucket - 1, j, chance);
  return found / k;
}

// The mean recall of many trials is within four standard errors of the formula's: one of 15 checks would fail by chance
// for one seed in a thousand, and the seed is fixed. The paper's chance is 1 / b; of n values a little less are in the same
// bucket. `stated` is the paper's value, 0 where it has none.
bool hasExpectedRecall(int k, int perBucket, double stated) {
  constexpr int kValues = 65536, kTrials = 64;
  const int buckets = ((k + perBucket - 1) / perBucket + 15) / 16 * 16;
  std::uniform_real_distribution<float> uniform;
  std::vector<float> x(kValues);
  std::vector<int32_t> order(kValues), chosen(kValues);
  std::vector<char> scratch(selectScratchBytes(kValues));
  double sum = 0, squares = 0;
  for (int trial = 0; trial < kTrials; trial++) {
    for (float& e : x) e = uniform(randomness);
    std::iota(order.begin(), order.end(), 0);
    std::nth_element(order.begin(), order.begin() + k, order.end(), [&](int a, int b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
    std::sort(order.begin(), order.begin() + k);
    Arena arena{scratch.data()};
    const int count = selectBucketed(x.data(), kValues, k, perBucket, chosen.data(), arena);
    std::sort(chosen.begin(), chosen.begin() + count);
    std::vector<int32_t> both;
    std::set_intersection(chosen.begin(), chosen.begin() + count, order.begin(), order.begin() + k, std::back_inserter(both));
    const double recall = static_cast<double>(both.size()) / k;
    sum += recall;
    squares += recall * recall;
    if (count != k) {
      std::printf("FAILED: select_test bucketed, k %d, %d per bucket: %d chosen\n", k, perBucket, count);
      return false;
    }
  }
  const double mean = sum / kTrials, error = std::sqrt((squares / kTrials - mean * mean) / (kTrials - 1));
  const double expected = expectedRecall(k, perBucket, (static_cast<double>(kValues) / buckets - 1) / (kValues - 1));
  const bool asStated = stated == 0 || std::fabs(expectedRecall(k, perBucket, 1.0 / buckets) - stated) < 0.0006;
  if (std::fabs(mean - expected) < 4 * error && asStated) return true;
  std::printf("FAILED: select_test recall, k %d, %d per bucket of %d: %.4f +- %.4f, expected %.4f (stated %.3f)\n", k, perBucket, buckets,
              mean, error, expected, stated);
  return false;
}

}  // namespace

int main() {
  const float infinity = std::numeric_limits<float>::infinity(), denormal = std::numeric_limits<float>::denorm_min();
  std::normal_distribution<float> normal;
  int failures = 0, checks = 0;
  const auto fill = [&](size_t n, auto make) {
    std::vector<float> x(n);
    for (float& e : x) e = make();
    return x;
  };
  for (const size_t n : {1, 2, 3, 4, 5, 7, 16, 63, 64, 65, 1000, 5003}) {
    const std::vector<std::pair<const char*, std::vector<float>>> inputs = {
        {"normal", fill(n, [&] { return normal(randomness); })},
        {"constant", fill(n, [] { return 0.25f; })},
        {"zeros of both signs", fill(n, [&] { return randomness() % 2 ? 0.0f : -0.0f; })},
        {"few values", fill(n, [&] { return static_cast<float>(randomness() % 3) - 1; })},
        {"denormal", fill(n, [&] { return denormal * static_cast<float>(static_cast<int>(randomness() % 9) - 4); })},
        {"neighbouring floats", fill(n, [&] { return std::nextafter(1.0f, randomness() % 2 ? 2.0f : 0.0f); })},
        {"every magnitude", fill(n, [&] { return normal(randomness) * std::exp2(static_cast<float>(static_cast<int>(randomness() % 250) - 125)); })},
        {"largest floats", fill(n, [&] { return (randomness() % 2 ? 1 : -1) * std::numeric_limits<float>::max(); })},
        {"infinities", fill(n, [&] { return randomness() % 3 ? -infinity : normal(randomness); })},
    };
    for (const auto& [name, x] : inputs) {
      for (const int k : {1, 2, 3, 8, 31, 64, 500, 999, 1000, 2000}) {
        checks++;
        failures += !agrees(x, k, name);
      }
    }
  }
  // Not a number is never chosen, and nothing is written past k.
  std::vector<float> x = {1, NAN, 3, NAN, 2, NAN, NAN, NAN, NAN};
  std::vector<int32_t> chosen(10, -7);
  std::vector<char> scratch(selectScratchBytes(9));
  Arena arena{scratch.data()};
  const int count = selectLargest(x.data(), 9, 3, chosen.data(), arena);
  checks++;
  if (count > 3 || chosen[3] != -7 || std::any_of(chosen.begin(), chosen.begin() + count, [&](int i) { return std::isnan(x[i]); })) {
    std::printf("FAILED: select_test not a number\n");
    failures++;
  }
  // Values of the paper where it states them, at k = 128 and as many kept in buckets as wanted; the other k bring other
  // numbers of buckets, some of them rounded up.
  for (const auto& [k, perBucket, stated] : std::vector<std::tuple<int, int, double>>{{128, 1, 0.634}, {128, 2, 0.732}, {128, 4, 0.808}}) {
    checks++;
    failures += !hasExpectedRecall(k, perBucket, stated);
  }
  for (const int k : {24, 72, 192, 500}) {
    for (const int perBucket : {1, 2, 4}) {
      checks++;
      failures += !hasExpectedRecall(k, perBucket, 0);
    }
  }
  std::printf("select_test: %d checks, %d failed\n", checks, failures);
  return failures > 0;
}
