// Times of the attention kernels alone, over a store that is larger than the caches, for `sparq bench kernel`.
#pragma once
#include <memory>

#include "attention.h"

namespace sparq {

// One store, so that what is compared reads the same memory in the same run.
class KernelBench {
 public:
  // Fills the cache of `batch` sequences of `context` positions, in all of the shape's layers, with seeded noise. The
  // shape's `blocks` is not looked at. Throws std::bad_alloc.
  KernelBench(Path path, StoreShape shape, const LayerParams& params, int32_t context, int32_t batch, int32_t threads);
  ~KernelBench();

  // Seconds of a decode step's attention in all layers, with the caches cold before it unless told otherwise. The last position of each sequence
  // attends; nothing is appended. `naive`: by a plain loop instead of the kernels, on one thread; needs dtype F32.
  double run(const Settings& settings, bool naive, bool cold = true);
  // What such a step reads of the cache.
  Traffic traffic(const Settings& settings);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace sparq
