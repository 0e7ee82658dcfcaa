// Kernels in the portable vector type, on the architecture's baseline (SSE2, NEON without fused multiply-adds).
#include "simd_scalar.h"
#define KERNELS scalarKernels
#include "attend_body.inc"
