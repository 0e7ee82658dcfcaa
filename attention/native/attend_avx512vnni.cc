// As attend_avx512.cc, with VNNI's int8 dot products.
#if defined(__x86_64__)
#include "simd_avx512.h"
#define KERNELS avx512VnniKernels
#include "attend_body.inc"
#endif
