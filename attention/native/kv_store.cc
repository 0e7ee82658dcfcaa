// The paged KV cache's memory: one anonymous mapping, laid out [layer][block][KV head] of
// { K [blockSize][headDim], K by component [headDim][blockSize], V [blockSize][headDim], sum of V [headDim] }.
#include <sys/mman.h>

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

// From this size on large pages are worth their coarser grain: a scan touches many small pages of a big cache.
constexpr size_t kLargePagesFrom = size_t{256} << 20;

}  // namespace

KvStore::KvStore(const StoreShape& shape) : shape_(shape) {
  require(shape.layers >= 1, "layers", shape.layers, "at least 1");
  require(shape.kvHeads >= 1, "kvHeads", shape.kvHeads, "at least 1");
  require(shape.headDim >= 1 && shape.headDim <= 4096, "headDim", shape.headDim, "1 to 4096");
  require(shape.blockSize >= 16 && shape.blockSize % 16 == 0 && shape.blockSize <= 4096, "blockSize", shape.blockSize,
          "a multiple of 16 up to 4096");
  require(shape.blocks >= 1, "blocks", shape.blocks, "at least 1");
  const size_t headFloats = size_t(shape.headDim) * (3 * size_t(shape.blockSize) + 1);
  headBytes_ = (headFloats * sizeof(float) + 63) / 64 * 64;
  const size_t size = product(product(product(headBytes_, shape.kvHeads), shape.layers), shape.blocks);
  if (size > static_cast<size_t>(std::numeric_limits<ptrdiff_t>::max())) throw std::bad_alloc();
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
  flags |= MAP_NORESERVE;
#endif
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (size >= kLargePagesFrom) madvise(memory, size, MADV_HUGEPAGE);  // a hint; refusal changes nothing
#endif
  memory_ = memory;
}

KvStore::~KvStore() { munmap(memory_, bytes()); }

size_t KvStore::bytesPerBlock() const { return headBytes_ * shape_.kvHeads * shape_.layers; }

size_t KvStore::bytes() const { return bytesPerBlock() * shape_.blocks; }

float* KvStore::keys(int layer, int block, int head) const {
  const size_t index = (size_t(layer) * shape_.blocks + block) * shape_.kvHeads + head;
  return reinterpret_cast<float*>(static_cast<char*>(memory_) + index * headBytes_);
}

float* KvStore::keysByComponent(int layer, int block, int head) const {
  return keys(layer, block, head) + size_t(shape_.blockSize) * shape_.headDim;
}

float* KvStore::values(int layer, int block, int head) const {
  return keys(layer, block, head) + 2 * size_t(shape_.blockSize) * shape_.headDim;
}

float* KvStore::valueSum(int layer, int block, int head) const {
  return keys(layer, block, head) + 3 * size_t(shape_.blockSize) * shape_.headDim;
}

void KvStore::copyBlock(int from, int to) {
  if (from == to) return;
  for (int layer = 0; layer < shape_.layers; layer++) {
    std::memcpy(keys(layer, to, 0), keys(layer, from, 0), headBytes_ * shape_.kvHeads);
  }
}

}  // namespace sparq
