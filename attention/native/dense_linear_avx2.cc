// Linears of plain floats for x86-64 with AVX2, FMA and F16C; compiled with those flags only (see the Makefile).
#if defined(__x86_64__)
#include "simd_avx2.h"
#define DENSE_KERNEL denseAvx2
#include "dense_linear_body.inc"
#endif
