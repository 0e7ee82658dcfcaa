// Linears of plain floats for aarch64, whose baseline has NEON.
#if defined(__aarch64__)
#include "simd_neon.h"
#define DENSE_KERNEL denseNeon
#include "dense_linear_body.inc"
#endif
