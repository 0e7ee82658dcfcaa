#include "addon_values.h"
#include "addon_bench.h"

#include <cstring>
#include <memory>
#include <new>

#include "bandwidth.h"
#include "kernel_bench.h"
#include "step_input.h"

namespace sparq {
namespace {

// readBandwidth(bytes, threads) in bytes a second, on this thread and helpers.
Napi::Value measureReadBandwidth(const Napi::CallbackInfo& info) {
  const int32_t bytes = integerOf(info[0], "bytes", 1), threads = integerOf(info[1], "threads", 1, kMostThreads);
  return guarded(info.Env(), [&] { return Napi::Number::New(info.Env(), readBandwidth(bytes, threads)); });
}

// A bench and the shape that settings are checked against; no bench once it is closed.
struct BenchState {
  std::unique_ptr<KernelBench> bench;
  StoreShape shape;
};

KernelBench& openBench(const BenchState& state) {
  if (!state.bench) throw std::runtime_error("the kernel bench is closed");
  return *state.bench;
}

// The settings of a one-row sequence, as a step has them.
Settings settingsOf(const Napi::Value& value, const StoreShape& shape) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    typeError(value.Env(), "settings must be an Int32Array");
  }
  const auto array = value.As<Napi::Int32Array>();
  const Batch batch{.rowStarts = {0, 1}, .contextLengths = {0}, .blockTables = {0}, .blockTableStarts = {0, 1},
                    .settings = {array.Data(), array.Data() + array.ElementLength()}};
  checkBatch(batch, 1, shape);
  return batch.sequences()[0].settings;
}

bool booleanOf(const Napi::Value& value, const char* what) {
  if (!value.IsBoolean()) typeError(value.Env(), std::string(what) + " must be true or false");
  return value.As<Napi::Boolean>().Value();
}

// createKernelBench(options): an object of functions, all on this thread.
Napi::Value createKernelBench(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object options = objectOf(info[0], "the options");
  const Path path = pathOf(env, options.Get("path"));
  const StoreShape shape{.layers = integerField(options, "layers", 1),
                         .kvHeads = integerField(options, "kvHeads", 1, 4096),
                         .headDim = integerField(options, "headDim", 1, 4096),
                         .blockSize = integerField(options, "blockSize", 1),
                         .blocks = 1,
                         .dtype = dtypeField(options),
                         .scanDtype = scanDtypeField(options)};
  const int32_t groupSize = integerField(options, "groupSize", 1, 4096);
  const int32_t context = integerField(options, "context", 1), batch = integerField(options, "batch", 1, 65536);
  const int32_t threads = integerField(options, "threads", 1, kMostThreads);
  const LayerParams params{.layer = 0,
                           .heads = shape.kvHeads * groupSize,
                           .kvHeads = shape.kvHeads,
                           .headDim = shape.headDim,
                           .scale = 1 / std::sqrt(static_cast<float>(shape.headDim)),
                           .window = 0,
                           .rotaryDim = 0,
                           .interleaved = 0};
  return guarded(env, [&]() -> Napi::Value {
    auto state = std::make_shared<BenchState>(
        BenchState{std::make_unique<KernelBench>(path, shape, params, context, batch, threads), shape});
    Napi::Object object = Napi::Object::New(env);
    object.Set("bytes", static_cast<double>(state->bench->bytes()));
    const auto method = [&](const char* name, auto function) {
      object.Set(name, Napi::Function::New(env, [state, function](const Napi::CallbackInfo& info) -> Napi::Value {
                   return guarded(info.Env(), [&] { return function(info, *state); });
                 }, name));
    };
    method("run", [](const Napi::CallbackInfo& info, BenchState& state) -> Napi::Value {
      KernelBench& bench = openBench(state);
      const Settings settings = settingsOf(info[0], state.shape);
      const bool naive = booleanOf(info[1], "naive"), cold = booleanOf(info[2], "cold");
      return Napi::Number::New(info.Env(), bench.run(settings, naive, cold));
    });
    method("traffic", [](const Napi::CallbackInfo& info, BenchState& state) -> Napi::Value {
      KernelBench& bench = openBench(state);
      return trafficObject(info.Env(), bench.traffic(settingsOf(info[0], state.shape)));
    });
    method("close", [](const Napi::CallbackInfo& info, BenchState& state) -> Napi::Value {
      state.bench.reset();
      return info.Env().Undefined();
    });
    return object;
  });
}

}  // namespace

void addBenchFunctions(Napi::Env env, Napi::Object exports) {
  exports.Set("readBandwidth", Napi::Function::New<measureReadBandwidth>(env, "readBandwidth"));
  exports.Set("createKernelBench", Napi::Function::New<createKernelBench>(env, "createKernelBench"));
}

}  // namespace sparq
