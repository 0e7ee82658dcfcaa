// Kernels for x86-64 with AVX2, FMA and F16C; compiled with those flags only (see the Makefile).
#if defined(__x86_64__)
#include "simd_avx2.h"
#define KERNELS avx2Kernels
#include "attend_body.inc"
#endif
