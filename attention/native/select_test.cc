// Top-k selection alone, in its portable form: against a stable sort, on the inputs that such code gets wrong.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
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
  std::printf("select_test: %d checks, %d failed\n", checks, failures);
  return failures > 0;
}
