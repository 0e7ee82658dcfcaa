// Linears of plain floats for x86-64 with AVX-512 F, BW, DQ and VL; compiled with those flags only (see the Makefile).
#if defined(__x86_64__)
#include "simd_avx512.h"
#define DENSE_KERNEL denseAvx512
#include "dense_linear_body.inc"
#endif
