// Kernels for x86-64 with AVX-512 F, BW, DQ and VL; compiled with those flags only (see the Makefile).
#if defined(__x86_64__)
#include "simd_avx512.h"
#define KERNELS avx512Kernels
#include "attend_body.inc"
#endif
