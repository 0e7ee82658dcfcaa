// Linears of plain floats for every architecture.
#include "simd_scalar.h"
#define DENSE_KERNEL denseScalar
#include "dense_linear_body.inc"
