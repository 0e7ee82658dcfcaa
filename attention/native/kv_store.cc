// The paged KV cache's memory: one anonymous mapping, laid out [layer][block][KV head] of pages.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "attention.h"

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
  scan_ = aligned(size * tokenBytes_);
  ranges_ = scan_ + aligned(size * d * elementBytes(shape.scanDtype));
  sum_ = ranges_ + (shape.scanDtype == DType::I8 ? aligned(d * sizeof(uint32_t)) : 0);
  summed_ = sum_ + d * sizeof(float);
  keyScales_ = sum_ + aligned(d * sizeof(float) + sizeof(int32_t));
  valueScales_ = keyScales_ + aligned(scales);
  pageBytes_ = valueScales_ + aligned(scales);

  const size_t bytes = product(product(product(pageBytes_, shape.kvHeads), shape.layers), shape.blocks);
  const size_t guard = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (bytes > static_cast<size_t>(std::numeric_limits<ptrdiff_t>::max()) - 3 * guard) throw std::bad_alloc();
  const size_t accessible = (bytes + guard - 1) / guard * guard;
  mappingBytes_ = accessible + 2 * guard;
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
  flags |= MAP_NORESERVE;
#endif
  void* mapping = mmap(nullptr, mappingBytes_, PROT_NONE, flags, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  char* first = static_cast<char*>(mapping) + guard;
  if (mprotect(first, accessible, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping, mappingBytes_);
    throw std::bad_alloc();
  }
#ifdef MADV_HUGEPAGE
  if (bytes >= kLargePagesFrom) madvise(first, accessible, MADV_HUGEPAGE);  // a hint; refusal changes nothing
#endif
  mapping_ = mapping;
  memory_ = first + (accessible - bytes) / kAlignment * kAlignment;  // its end against the guard
}

KvStore::~KvStore() { munmap(mapping_, mappingBytes_); }

void KvStore::copyBlock(int from, int to) {
  if (from == to) return;
  for (int layer = 0; layer < shape_.layers; layer++) {
    std::memcpy(page(layer, to, 0).keys, page(layer, from, 0).keys, pageBytes_ * shape_.kvHeads);
  }
}

}  // namespace sparq
