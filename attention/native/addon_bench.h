// The part of the addon that measures: createKernelBench and readBandwidth of NativeAddon in ../types.ts.
#pragma once
#include <napi.h>

namespace sparq {

void addBenchFunctions(Napi::Env env, Napi::Object exports);

}  // namespace sparq
