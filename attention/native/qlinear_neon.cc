// Quantised linears for aarch64, whose baseline has NEON.
#if defined(__aarch64__)
#define LINEAR linearNeon
#include "qlinear_neon.inc"
#endif
