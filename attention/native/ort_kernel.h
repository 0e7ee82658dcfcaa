// What the custom operators' implementations share: tensors, threads, attributes and the life cycle of a kernel.
#pragma once
#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "attention.h"
#include "ort_runtime.h"

namespace sparq {

struct Input {
  const float* data = nullptr;
  std::vector<int64_t> shape;

  int64_t width() const { return shape.back(); }
  int64_t rows() const {
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); i++) rows *= shape[i];
    return rows;
  }
};

inline const float* dataOf(const ort::Value* value) {
  void* data = nullptr;
  ort::check(ort::getTensorMutableData(const_cast<ort::Value*>(value), &data));
  return static_cast<const float*>(data);
}

inline Input inputOf(const ort::KernelContext* context, size_t index) {
  const ort::Value* value = nullptr;
  ort::check(ort::kernelContextGetInput(context, index, &value));
  return {dataOf(value), ort::shapeOf(value)};
}

inline float* outputOf(ort::KernelContext* context, const std::vector<int64_t>& shape, size_t index = 0) {
  ort::Value* value = nullptr;
  ort::check(ort::kernelContextGetOutput(context, index, shape.data(), shape.size(), &value));
  return const_cast<float*>(dataOf(value));
}

// ONNX Runtime's threads, for as long as an operator runs.
inline Pool poolOf(ort::KernelContext* context, int threads) {
  const auto run = [](void* context, size_t n, void (*task)(void*, size_t), void* user) {
    ort::check(ort::kernelContextParallelFor(static_cast<const ort::KernelContext*>(context), task, n, 0, user));
  };
  return {context, run, threads};
}

inline std::string nodeNameOf(const ort::KernelInfo* info) {
  size_t size = 0;
  ort::check(ort::kernelInfoGetNodeName(info, nullptr, &size));
  std::string name(size, '\0');
  ort::check(ort::kernelInfoGetNodeName(info, name.data(), &size));
  name.resize(size > 0 ? size - 1 : 0);  // without the terminator
  return name;
}

// Reads and checks the attributes of one node; errors name the operator, the node, its layer if it has one, and the attribute.
class Attributes {
 public:
  Attributes(const char* op, const ort::KernelInfo* info) : info_(info), op_(op), node_(nodeNameOf(info)) {}

  const std::string& node() const { return node_; }
  void inLayer(int32_t layer) { layer_ = " (layer " + std::to_string(layer) + ")"; }

  int32_t integer(const char* name, int64_t low, int64_t high) const {
    int64_t value = 0;
    read(name, "integer", ort::kernelInfoGetInt64(info_, name, &value));
    if (value < low || value > high) {
      fail(std::string(name) + " is " + std::to_string(value) + ", must be " + std::to_string(low) + " to " +
           std::to_string(high));
    }
    return static_cast<int32_t>(value);
  }

  int64_t count(const char* name) const {
    int64_t value = 0;
    read(name, "integer", ort::kernelInfoGetInt64(info_, name, &value));
    if (value < 0) fail(std::string(name) + " is " + std::to_string(value) + ", must not be below 0");
    return value;
  }

  std::vector<int64_t> integers(const char* name) const {
    size_t size = 0;
    read(name, "integers", ort::kernelInfoGetInt64s(info_, name, nullptr, &size));
    std::vector<int64_t> values(size);
    read(name, "integers", ort::kernelInfoGetInt64s(info_, name, values.data(), &size));
    return values;
  }

  // Nothing if there is no such text.
  std::optional<std::string> text(const char* name) const {
    size_t size = 0;
    if (ort::Status* status = ort::kernelInfoGetString(info_, name, nullptr, &size)) {
      ort::releaseStatus(status);
      return std::nullopt;
    }
    std::string value(size, '\0');
    read(name, "text", ort::kernelInfoGetString(info_, name, value.data(), &size));
    value.resize(size > 0 ? size - 1 : 0);
    return value;
  }

  float positive(const char* name) const {
    float value = 0;
    read(name, "float", ort::kernelInfoGetFloat(info_, name, &value));
    if (!(value > 0) || !std::isfinite(value)) fail(std::string(name) + " is " + std::to_string(value) + ", must be above 0");
    return value;
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw std::invalid_argument("sparq." + op_ + " node \"" + node_ + "\"" + layer_ + ": " + message);
  }

 private:
  void read(const char* name, const char* type, ort::Status* status) const {
    try {
      ort::check(status);
    } catch (const ort::Error& error) {
      fail("needs the " + std::string(type) + " attribute " + name + " (" + error.what() + ")");
    }
  }

  const ort::KernelInfo* info_;
  std::string op_, node_, layer_;
};

// Kernel life cycle that all operators share; exceptions become statuses here, for the caller is C.
template <typename Kernel>
ort::CustomOp lifeCycle() {
  ort::CustomOp op{};
  op.version = ort::kApiVersion;
  op.getExecutionProvider = [](const ort::CustomOp*) -> const char* { return nullptr; };
  op.getInputType = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
  op.getOutputType = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
  op.getOutputTypeCount = [](const ort::CustomOp*) { return size_t{1}; };
  op.getInputCharacteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
  op.getOutputCharacteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
  op.getInputMemoryType = [](const ort::CustomOp*, size_t) { return ort::kDefaultMemory; };
  const auto one = [](const ort::CustomOp*) { return 1; };
  op.getVariadicInputMinArity = op.getVariadicOutputMinArity = one;
  op.getVariadicInputHomogeneity = op.getVariadicOutputHomogeneity = one;
  op.getStartVersion = op.getEndVersion = one;
  op.createKernelV2 = [](const ort::CustomOp* op, ort::Table, const ort::KernelInfo* info, void** kernel) -> ort::Status* {
    try {
      *kernel = new Kernel(op, info);
      return nullptr;
    } catch (...) {
      return ort::statusOfCurrentException();
    }
  };
  op.kernelComputeV2 = [](void* kernel, ort::KernelContext* context) -> ort::Status* {
    try {
      static_cast<Kernel*>(kernel)->compute(context);
      return nullptr;
    } catch (...) {
      return ort::statusOfCurrentException();
    }
  };
  op.kernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  return op;
}

}  // namespace sparq
