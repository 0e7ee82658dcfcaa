// Times of the attention kernels alone, over a store that is larger than the caches, for `sparq bench kernel`.
#pragma once
#include <memory>
#include <vector>

#include "attention.h"

namespace sparq {

// One store, so that what is compared reads the same memory in the same run. Several may be open at a time: their threads
// sleep but while one runs.
class KernelBench {
 public:
  // Fills the cache of `batch` sequences of `context` positions, in all of the shape's layers, with seeded noise. The
  // shape's `blocks` is not looked at; params.layer, .window and .rotaryDim neither. Throws std::invalid_argument for a
  // shape that no store has, std::bad_alloc.
  KernelBench(Path path, StoreShape shape, const LayerParams& params, int32_t context, int32_t batch, int32_t threads);
  ~KernelBench();

  // Seconds of a decode step's attention in all layers, with the caches cold before it unless told otherwise. The last
  // position of each sequence attends; nothing is appended. `naive`: by a plain loop instead of the kernels, on one
  // thread; throws std::invalid_argument for a dtype but F32.
  double run(const Settings& settings, bool naive, bool cold = true);
  // What such a step reads of the cache.
  Traffic traffic(const Settings& settings);
  // [batch][heads * headDim] of the last layer, as the last run or traffic() left it.
  const std::vector<float>& out() const;
  size_t bytes() const;  // of the store

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace sparq
