// As qlinear_neon.cc, with the int8 dot products of Armv8.2; compiled with those flags only (see the Makefile).
#if defined(__aarch64__)
#define LINEAR linearNeonDot
#include "qlinear_neon.inc"
#endif
