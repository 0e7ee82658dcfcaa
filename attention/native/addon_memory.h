// The part of the addon that gives memory back: releaseFreeMemory of NativeAddon in ../types.ts.
#pragma once
#include <napi.h>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace sparq {

// Reading a model leaves free memory in the allocator's arenas, one for each thread that took part: back to the system with it.
inline void releaseFreeMemory(const Napi::CallbackInfo&) {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace sparq
