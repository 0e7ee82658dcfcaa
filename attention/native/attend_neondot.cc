// As attend_neon.cc, with the int8 dot products of Armv8.2; compiled with those flags only (see the Makefile).
#if defined(__aarch64__)
#include "simd_neon.h"
#define KERNELS neonDotKernels
#include "attend_body.inc"
#endif
