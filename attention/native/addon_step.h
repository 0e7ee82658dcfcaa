// A step's input as it comes from JavaScript, and its output as it goes there. For addon*.cc only.
#pragma once
#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "addon_values.h"
#include "session.h"
#include "step_input.h"

namespace sparq {

inline Batch batchOf(const Napi::Object& input) {
  return {.rowStarts = int32Field(input, "rowStarts"),
          .contextLengths = int32Field(input, "contextLengths"),
          .blockTables = int32Field(input, "blockTables"),
          .blockTableStarts = int32Field(input, "blockTableStarts"),
          .settings = int32Field(input, "settings")};
}

// One layer's, as attend() has them.
inline LayerParams layerParamsOf(const Napi::Object& input, const StoreShape& store) {
  LayerParams params{.layer = integerField(input, "layer", 0, store.layers - 1),
                     .heads = integerField(input, "heads", 1, INT32_MAX / store.headDim),
                     .kvHeads = integerField(input, "kvHeads", store.kvHeads, store.kvHeads),
                     .headDim = integerField(input, "headDim", store.headDim, store.headDim),
                     .scale = positiveField(input, "scale"),
                     .window = integerField(input, "window", 0),
                     .rotaryDim = integerField(input, "rotaryDim", 0, store.headDim),
                     .interleaved = booleanField(input, "interleaved")};
  if (params.heads % params.kvHeads != 0) throw std::invalid_argument("heads must be a multiple of kvHeads");
  if (params.rotaryDim % 2 != 0) throw std::invalid_argument("rotaryDim must be even");
  return params;
}

inline void requireLength(const char* field, size_t length, size_t expected) {
  if (length == expected) return;
  throw std::invalid_argument(std::string(field) + " has " + std::to_string(length) + " values, must have " +
                              std::to_string(expected));
}

inline SamplingInput samplingOf(const Napi::Value& value) {
  if (value.IsUndefined()) return {};
  const Napi::Object input = objectOf(value, "sampling");
  return {.rows = int32Field(input, "rows"),
          .params = arrayField<Float64s>(input, "params", napi_float64_array, "a Float64Array"),
          .countStarts = int32Field(input, "countStarts"),
          .counts = int32Field(input, "counts"),
          .biasStarts = int32Field(input, "biasStarts"),
          .biasTokens = int32Field(input, "biasTokens"),
          .biases = float32Field(input, "biases"),
          .maskStarts = int32Field(input, "maskStarts"),
          .masks = int32Field(input, "masks")};
}

inline Tail tailOf(const Napi::Value& value) {
  if (value.IsUndefined()) return {};
  const Napi::Object input = objectOf(value, "tail");
  return {.firstSequence = integerField(input, "firstSequence", 0),
          .beginLayer = integerField(input, "beginLayer", 0),
          .endLayer = integerField(input, "endLayer", 0),
          .hidden = float32Field(input, "hidden")};
}

inline StepInput stepInputOf(const Napi::Object& input) {
  return {.batch = batchOf(input),
          .tokenIds = int32Field(input, "tokenIds"),
          .logitRows = int32Field(input, "logitRows"),
          .sampling = samplingOf(input.Get("sampling")),
          .tail = tailOf(input.Get("tail")),
          .timed = flagField(input, "timed")};
}

// Hands the memory over without a copy; it is freed when JavaScript drops the array.
inline Napi::Float32Array float32Array(Napi::Env env, Floats data, size_t length) {
  if (length == 0) return Napi::Float32Array::New(env, 0);
  const auto buffer = Napi::ArrayBuffer::New(env, data.get(), length * sizeof(float), [](Napi::Env, void* data) {
    FloatsDeleter()(static_cast<float*>(data));
  });
  data.release();
  return Napi::Float32Array::New(env, length, buffer, 0);
}

template <typename Array, typename T>
Array copyOf(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

inline Napi::Object timesObject(Napi::Env env, const StepOutput& output) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("linears", output.linearSeconds);
  int i = 0;
  for (const char* name : {"append", "scan", "topK", "gather", "dense", "other"}) {
    object.Set(name, static_cast<double>(output.phaseTimes.of[i++]) * 1e-9);
  }
  return object;
}

inline Napi::Object sampledObject(Napi::Env env, const SampledRows& rows) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("tokenIds", copyOf<Napi::Int32Array>(env, rows.tokenIds));
  object.Set("faults", copyOf<Napi::Int32Array>(env, rows.faults));
  object.Set("logprobs", copyOf<Napi::Float64Array>(env, rows.logprobs));
  object.Set("topCount", rows.topCount);
  object.Set("topIds", copyOf<Napi::Int32Array>(env, rows.topIds));
  object.Set("topLogprobs", copyOf<Napi::Float64Array>(env, rows.topLogprobs));
  return object;
}

}  // namespace sparq
