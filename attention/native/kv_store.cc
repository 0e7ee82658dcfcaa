// The paged KV cache's memory: one anonymous mapping.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "attention.h"
#include "mass.h"

namespace sparq {
namespace {

void require(bool holds, const char* name, int64_t value, const char* what) {
  if (!holds) throw std::invalid_argument("KvStore: " + std::string(name) + " is " + std::to_string(value) + ", must be " + what);
}

size_t product(size_t a, size_t b) {
  size_t result;
  if (__builtin_mul_overflow(a, b, &result)) throw std::bad_alloc();
  return result;
}

size_t sum(size_t a, size_t b) {
  size_t result;
  if (__builtin_add_overflow(a, b, &result)) throw std::bad_alloc();
  return result;
}

// Cache lines, and whole vectors.
constexpr size_t kAlignment = 64;
size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// From this size on large pages are worth their coarser grain: a scan touches many small pages of a big cache.
constexpr size_t kLargePagesFrom = size_t{256} << 20;

}  // namespace

const char* dtypeName(DType type) {
  switch (type) {
    case DType::F32: return "f32";
    case DType::F16: return "f16";
    case DType::BF16: return "bf16";
    case DType::I8: return "int8";
    case DType::F8: return "fp8-e4m3";
  }
  return "unknown";
}

KvStore::KvStore(const StoreShape& shape) : shape_(shape) {
  require(shape.layers >= 1, "layers", shape.layers, "at least 1");
  require(shape.kvHeads >= 1, "kvHeads", shape.kvHeads, "at least 1");
  require(shape.headDim >= 1 && shape.headDim <= 4096, "headDim", shape.headDim, "1 to 4096");
  require(shape.blockSize >= 16 && shape.blockSize % 16 == 0 && shape.blockSize <= 4096, "blockSize", shape.blockSize,
          "a multiple of 16 up to 4096");
  require(shape.blocks >= 1, "blocks", shape.blocks, "at least 1");
  require(shape.dtype >= DType::F32 && shape.dtype <= DType::F8, "dtype", int64_t(shape.dtype), "0 to 4");
  require(shape.scanDtype >= DType::F32 && shape.scanDtype <= DType::I8, "scanDtype", int64_t(shape.scanDtype), "0 to 3");
  require(shape.scanDtype != DType::I8 || shape.blockSize % 64 == 0, "blockSize", shape.blockSize,
          "a multiple of 64 with int8 keys by component");
  const size_t size = shape.blockSize, d = shape.headDim;
  tokenBytes_ = 2 * d * elementBytes(shape.dtype);
  const size_t scales = hasScale(shape.dtype) ? size * sizeof(float) : 0;
  values_ = tokenBytes_ / 2;
  sum_ = aligned(size * tokenBytes_);
  summed_ = sum_ + d * sizeof(float);
  keyScales_ = sum_ + aligned(d * sizeof(float) + sizeof(int32_t));
  valueScales_ = keyScales_ + aligned(scales);
  parts_[0].pageBytes = valueScales_ + aligned(scales);
  parts_[1].pageBytes = aligned(size * d * elementBytes(shape.scanDtype));
  parts_[2].pageBytes = shape.scanDtype == DType::I8 ? aligned(d * sizeof(uint32_t)) : 0;

  // Guard, part, guard, part, guard, part, guard: each part's end lies against its guard.
  const size_t guard = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t count = product(product(shape.layers, shape.kvHeads), shape.blocks);
  mappingBytes_ = guard;
  size_t accessible[3];
  for (int i = 0; i < 3; i++) {
    accessible[i] = sum(product(parts_[i].pageBytes, count), guard - 1) / guard * guard;
    mappingBytes_ = sum(mappingBytes_, sum(accessible[i], guard));
  }
  if (mappingBytes_ > static_cast<size_t>(std::numeric_limits<ptrdiff_t>::max())) throw std::bad_alloc();
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
  flags |= MAP_NORESERVE;
#endif
  void* mapping = mmap(nullptr, mappingBytes_, PROT_NONE, flags, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  char* first = static_cast<char*>(mapping) + guard;
  for (int i = 0; i < 3; i++) {
    if (accessible[i] > 0 && mprotect(first, accessible[i], PROT_READ | PROT_WRITE) != 0) {
      munmap(mapping, mappingBytes_);
      throw std::bad_alloc();
    }
#ifdef MADV_HUGEPAGE
    // A hint; refusal changes nothing. Ranges are small, and each head's would take a large page of its own.
    if (bytes() >= kLargePagesFrom && i < 2) madvise(first, accessible[i], MADV_HUGEPAGE);
#endif
    parts_[i].memory = first + (accessible[i] - parts_[i].pageBytes * count) / kAlignment * kAlignment;
    first += accessible[i] + guard;
  }
  mapping_ = mapping;
  if (shape.trackMass) masses_ = std::make_unique<MassTracker>(shape_);
}

KvStore::~KvStore() { munmap(mapping_, mappingBytes_); }

size_t KvStore::bytesPerBlock() const {
  return (parts_[0].pageBytes + parts_[1].pageBytes + parts_[2].pageBytes) * shape_.layers * shape_.kvHeads;
}

void KvStore::fill(float value) {
  for (const Part& part : parts_) std::fill_n(reinterpret_cast<float*>(part.memory), part.pageBytes * pages() / sizeof(float), value);
}

void KvStore::copyBlock(int from, int to) {
  if (from == to) return;
  for (int layer = 0; layer < shape_.layers; layer++) {
    for (int head = 0; head < shape_.kvHeads; head++) {
      const Page source = page(layer, from, head), target = page(layer, to, head);
      std::memcpy(target.keys, source.keys, parts_[0].pageBytes);
      std::memcpy(target.scan, source.scan, parts_[1].pageBytes);
      if (parts_[2].pageBytes > 0) std::memcpy(target.ranges, source.ranges, parts_[2].pageBytes);
    }
  }
}

}  // namespace sparq
