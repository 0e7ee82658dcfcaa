// How fast memory can be read: what a kernel that must read its weights or its cache once is measured against.
#pragma once
#include <cstddef>

namespace sparq {

// Bytes a second at which `threads` threads together read `bytes` of memory, one stretch each: the median of several
// passes. Choose `bytes` beyond the caches. Throws std::invalid_argument for fewer than 64 bytes a thread, and
// std::bad_alloc.
double readBandwidth(size_t bytes, int threads);

}  // namespace sparq
