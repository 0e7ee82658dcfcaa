// Which kernel paths this CPU and operating system can run.
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "attention.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace sparq {

const char* pathName(Path path) {
  switch (path) {
    case Path::Scalar: return "scalar";
    case Path::Avx2: return "avx2";
    case Path::Avx512: return "avx512";
    case Path::Avx512Vnni: return "avx512vnni";
    case Path::Neon: return "neon";
    case Path::NeonDot: return "neondot";
  }
  return "unknown";
}

const char* rankName(Rank rank) {
  switch (rank) {
    case Rank::Sparq: return "sparq";
    case Rank::Exact: return "exact";
    case Rank::None: return "none";
    case Rank::Random: return "random";
    case Rank::Mass: return "mass";
  }
  return "unknown";
}

#if defined(__x86_64__)
namespace {

// XCR0: the register state that the operating system saves. Without it the CPU's own word is not enough.
uint64_t savedState() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

constexpr bool has(uint32_t word, int bit) { return (word >> bit & 1) != 0; }

struct Features {
  bool avx2 = false, avx512 = false, vnni = false;
};

Features detect() {
  Features found;
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
  const bool osxsave = has(c, 27), fma = has(c, 12), f16c = has(c, 29), avx = has(c, 28), popcnt = has(c, 23);
  if (!osxsave || !avx || !fma || !f16c || !popcnt) return found;
  const uint64_t state = savedState();
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6;  // SSE and AVX; also opmask and the two halves of ZMM
  found.avx2 = (state & kYmm) == kYmm && has(b, 5);
  found.avx512 = found.avx2 && (state & kZmm) == kZmm && has(b, 16) && has(b, 17) && has(b, 30) && has(b, 31);
  found.vnni = found.avx512 && has(c, 11);
  return found;
}

}  // namespace
#elif defined(__aarch64__)
namespace {

// The int8 dot products, and what else the compiler may use in files that are made for Armv8.2.
bool hasDotProducts() {
#if defined(__ARM_FEATURE_DOTPROD)
  return true;  // the whole build relies on them, as Apple's does
#elif defined(__linux__)
  constexpr unsigned long kNeeded = HWCAP_ASIMDDP | HWCAP_ASIMDRDM | HWCAP_ATOMICS;
  return (getauxval(AT_HWCAP) & kNeeded) == kNeeded;
#else
  return false;
#endif
}

}  // namespace
#endif

std::vector<Path> availablePaths() {
  std::vector<Path> paths;
#if defined(__x86_64__)
  static const Features features = detect();
  if (features.vnni) paths.push_back(Path::Avx512Vnni);
  if (features.avx512) paths.push_back(Path::Avx512);
  if (features.avx2) paths.push_back(Path::Avx2);
#elif defined(__aarch64__)
  static const bool dotProducts = hasDotProducts();
  if (dotProducts) paths.push_back(Path::NeonDot);
  paths.push_back(Path::Neon);
#endif
  paths.push_back(Path::Scalar);
  return paths;
}

Path defaultPath() {
  const std::vector<Path> paths = availablePaths();
  const char* wanted = std::getenv("SPARQ_ISA");
  if (wanted == nullptr || *wanted == '\0') return paths.front();
  std::string names;
  for (Path path : paths) {
    if (std::string(wanted) == pathName(path)) return path;
    names += names.empty() ? pathName(path) : std::string(", ") + pathName(path);
  }
  throw std::invalid_argument("SPARQ_ISA is \"" + std::string(wanted) + "\"; this machine can run: " + names);
}

}  // namespace sparq
