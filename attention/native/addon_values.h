// What the addon's files share: C++ exceptions as JavaScript ones, arguments read and checked. For addon*.cc only.
#pragma once

// When an environment is being torn down JavaScript cannot be reached, and an exception for it must not end the process.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#include <napi.h>

#include <cmath>
#include <exception>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

#include "attention.h"

namespace sparq {

constexpr int32_t kMostThreads = 1024;

// ---- Errors

// Runs `function`; a C++ exception becomes a JavaScript one. std::invalid_argument is a RangeError.
template <typename Function>
auto guarded(Napi::Env env, Function function) -> decltype(function()) {
  try {
    return function();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::invalid_argument& error) {
    throw Napi::RangeError::New(env, error.what());
  } catch (const std::bad_alloc&) {
    throw Napi::Error::New(env, "not enough memory");
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

[[noreturn]] inline void typeError(Napi::Env env, const std::string& message) { throw Napi::TypeError::New(env, message); }

// ---- Reading arguments: each throws a TypeError or RangeError that names the field

inline Napi::Object objectOf(const Napi::Value& value, const char* what) {
  if (!value.IsObject()) typeError(value.Env(), std::string(what) + " must be an object");
  return value.As<Napi::Object>();
}

inline double numberOf(const Napi::Value& value, const std::string& field) {
  if (!value.IsNumber()) typeError(value.Env(), field + " must be a number");
  return value.As<Napi::Number>().DoubleValue();
}

inline int32_t integerOf(const Napi::Value& value, const std::string& field, int32_t low, int32_t high = INT32_MAX) {
  const double number = numberOf(value, field);
  if (number >= low && number <= high && number == std::floor(number)) return static_cast<int32_t>(number);
  const std::string got = value.ToString().Utf8Value();
  throw Napi::RangeError::New(value.Env(), field + " is " + got + ", must be an integer from " + std::to_string(low) + " to " +
                                               std::to_string(high));
}

inline int32_t integerField(const Napi::Object& object, const char* field, int32_t low, int32_t high = INT32_MAX) {
  return integerOf(object.Get(field), field, low, high);
}

// The place of a string field's value among the names; 0 when it is left out.
inline int32_t choiceField(const Napi::Object& object, const char* field, std::initializer_list<const char*> names) {
  const Napi::Value value = object.Get(field);
  if (value.IsUndefined()) return 0;
  const std::string given = value.IsString() ? value.As<Napi::String>().Utf8Value() : "no string";
  int32_t index = 0;
  std::string known;
  for (const char* name : names) {
    if (value.IsString() && given == name) return index;
    known += (index++ > 0 ? ", " : "") + std::string(name);
  }
  throw Napi::RangeError::New(object.Env(), std::string(field) + " is " + given + ", must be one of " + known);
}

inline float positiveField(const Napi::Object& object, const char* field) {
  const auto number = static_cast<float>(numberOf(object.Get(field), field));
  if (number > 0 && std::isfinite(number)) return number;
  throw Napi::RangeError::New(object.Env(), std::string(field) + " is " + std::to_string(number) + ", must be above 0");
}

inline bool booleanField(const Napi::Object& object, const char* field) {
  const Napi::Value value = object.Get(field);
  if (!value.IsBoolean()) typeError(object.Env(), std::string(field) + " must be true or false");
  return value.As<Napi::Boolean>().Value();
}

// False when it is left out.
inline bool flagField(const Napi::Object& object, const char* field) {
  return !object.Get(field).IsUndefined() && booleanField(object, field);
}

inline std::string stringField(const Napi::Object& object, const char* field) {
  const Napi::Value value = object.Get(field);
  if (!value.IsString()) typeError(object.Env(), std::string(field) + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

// A copy, so that JavaScript may write to the array while a step runs.
template <typename Array>
std::vector<typename Array::value_type> arrayField(const Napi::Object& object, const char* field, napi_typedarray_type type,
                                                   const char* typeName) {
  const Napi::Value value = object.Get(field);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    typeError(object.Env(), std::string(field) + " must be " + typeName);
  }
  const auto array = value.As<Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

struct Int32s : Napi::Int32Array {
  using Napi::Int32Array::Int32Array;
  using value_type = int32_t;
};
struct Float32s : Napi::Float32Array {
  using Napi::Float32Array::Float32Array;
  using value_type = float;
};

struct Float64s : Napi::Float64Array {
  using Napi::Float64Array::Float64Array;
  using value_type = double;
};

inline std::vector<int32_t> int32Field(const Napi::Object& object, const char* field) {
  return arrayField<Int32s>(object, field, napi_int32_array, "an Int32Array");
}

inline std::vector<float> float32Field(const Napi::Object& object, const char* field) {
  return arrayField<Float32s>(object, field, napi_float32_array, "a Float32Array");
}

inline Path pathOf(Napi::Env env, const Napi::Value& value) {
  std::string names;
  for (const Path path : availablePaths()) {
    if (value.IsString() && value.As<Napi::String>().Utf8Value() == pathName(path)) return path;
    names += (names.empty() ? "" : ", ") + std::string(pathName(path));
  }
  typeError(env, "path must be one of " + names);
}

// Of fields "dtype" and "scanDtype", f32 when left out.
inline DType dtypeField(const Napi::Object& object) {
  return static_cast<DType>(choiceField(object, "dtype", {"f32", "f16", "bf16", "int8", "fp8"}));
}
inline DType scanDtypeField(const Napi::Object& object) {
  return static_cast<DType>(choiceField(object, "scanDtype", {"f32", "f16", "bf16", "int8"}));
}

// KernelFault of field "fault"; none when it is left out.
inline KernelFault faultField(const Napi::Object& object) {
  if (object.Get("fault").IsUndefined()) return KernelFault::None;
  return static_cast<KernelFault>(1 + choiceField(object, "fault", {"page", "tau", "group"}));
}

// ---- Results

inline Napi::Object observationObject(Napi::Env env, const Observation& observation) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("rows", observation.rows);
  object.Set("recall", observation.recall);
  object.Set("massKept", observation.massKept);
  object.Set("alpha", observation.alpha);
  return object;
}

inline Napi::Object trafficObject(Napi::Env env, const Traffic& traffic) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("scoreBytes", static_cast<double>(traffic.scoreBytes));
  object.Set("gatherBytes", static_cast<double>(traffic.gatherBytes));
  object.Set("denseBytes", static_cast<double>(traffic.denseBytes));
  object.Set("denseEquivalentBytes", static_cast<double>(traffic.denseEquivalentBytes));
  return object;
}

}  // namespace sparq
