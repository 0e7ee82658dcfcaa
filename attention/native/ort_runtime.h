// ONNX Runtime as sparq uses it: the library, opened once per process, and owners for its objects.
#pragma once
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ort_abi.h"

namespace sparq::ort {

// What ONNX Runtime said when a call failed.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws Error with the status's message, and releases it, unless the call succeeded.
void check(Status* status);

// A status with the message of the exception now being handled. Called in a catch block.
Status* statusOfCurrentException() noexcept;

template <const auto& Release>
struct Releaser {
  template <typename Object>
  void operator()(Object* object) const {
    Release(object);
  }
};
template <typename Object, const auto& Release>
using Owner = std::unique_ptr<Object, Releaser<Release>>;

using SessionOwner = Owner<Session, releaseSession>;
using SessionOptionsOwner = Owner<SessionOptions, releaseSessionOptions>;
using ValueOwner = Owner<Value, releaseValue>;
using MemoryInfoOwner = Owner<MemoryInfo, releaseMemoryInfo>;
using IoBindingOwner = Owner<IoBinding, releaseIoBinding>;
using TypeInfoOwner = Owner<TypeInfo, releaseTypeInfo>;
using TensorInfoOwner = Owner<TensorInfo, releaseTensorInfo>;
using CustomOpDomainOwner = Owner<CustomOpDomain, releaseCustomOpDomain>;

// make(createX, arguments...) calls createX(arguments..., &object) and owns the object.
template <typename OwnerType, size_t Slot, typename... Parameters, typename... Arguments>
OwnerType make(Function<Slot, Status*(Parameters...)> create, Arguments... arguments) {
  typename OwnerType::pointer object = nullptr;
  check(create(arguments..., &object));
  return OwnerType(object);
}

std::vector<int64_t> shapeOf(const TensorInfo* info);
std::vector<int64_t> shapeOf(const Value* tensor);
// "[1, ?, 64]"
std::string shapeText(const std::vector<int64_t>& shape);

// The library and the environment, both of the process: opened at the first load and kept until it ends, because
// onnxruntime-node may use the same library and its environment, in any order.
class Runtime {
 public:
  // Opens the library, or returns the one already open if it is the same file. Thread-safe. Throws std::runtime_error
  // naming the file when it cannot be opened, is not ONNX Runtime, is too old, or another one is in use.
  static const Runtime& load(const std::string& libraryPath);

  const std::string& version() const { return version_; }
  Env* environment() const { return environment_; }

 private:
  Runtime(std::string version, Env* environment) : version_(std::move(version)), environment_(environment) {}

  std::string version_;
  Env* environment_;
};

}  // namespace sparq::ort
