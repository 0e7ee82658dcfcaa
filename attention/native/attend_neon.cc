// Kernels for aarch64, whose baseline has NEON.
#if defined(__aarch64__)
#include "simd_neon.h"
#define KERNELS neonKernels
#include "attend_body.inc"
#endif
