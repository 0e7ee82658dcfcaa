#include "ort_runtime.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace sparq::ort {
namespace {

// Major 1 and at least this minor version has API version 17.
constexpr int kMajor = 1, kLeastMinor = 17;

using GetApiBase = const ApiBase* (*)();

struct LibraryCloser {
  void operator()(void* handle) const { dlclose(handle); }
};
using Library = std::unique_ptr<void, LibraryCloser>;

// Appends the reason, so that every message begins with the file.
[[noreturn]] void refuse(const std::string& path, const std::string& reason) {
  throw std::runtime_error(path + " cannot be used as ONNX Runtime: " + reason);
}

void checkVersion(const std::string& path, const std::string& version) {
  int major = 0, minor = 0;
  const bool parsed = std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2;
  if (parsed && major == kMajor && minor >= kLeastMinor) return;
  refuse(path, "it is version " + version + ", and sparq needs 1.17 or a later 1.x");
}

}  // namespace

void check(Status* status) {
  if (status == nullptr) return;
  const std::string message = getErrorMessage(status);
  releaseStatus(status);
  throw Error(message);
}

Status* statusOfCurrentException() noexcept {
  try {
    throw;
  } catch (const std::exception& error) {
    return createStatus(kFail, error.what());
  } catch (...) {
    return createStatus(kFail, "unknown error in a sparq operator");
  }
}

std::vector<int64_t> shapeOf(const TensorInfo* info) {
  size_t rank = 0;
  check(getDimensionsCount(info, &rank));
  std::vector<int64_t> shape(rank);
  check(getDimensions(info, shape.data(), rank));
  return shape;
}

std::vector<int64_t> shapeOf(const Value* tensor) { return shapeOf(make<TensorInfoOwner>(getTensorInfo, tensor).get()); }

std::string shapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); i++) {
    if (i > 0) text += ", ";
    text += shape[i] < 0 ? "?" : std::to_string(shape[i]);
  }
  return text + "]";
}

const Runtime& Runtime::load(const std::string& path) {
  static std::mutex mutex;
  static const Runtime* loaded = nullptr;
  static void* loadedHandle = nullptr;
  static std::string loadedPath;

  const std::lock_guard lock(mutex);
  Library library(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!library) refuse(path, dlerror());
  // The loader gives the same handle for the same file, whatever name it goes by.
  if (loaded != nullptr && library.get() == loadedHandle) return *loaded;

  const auto getApiBase = reinterpret_cast<GetApiBase>(dlsym(library.get(), "OrtGetApiBase"));
  if (getApiBase == nullptr) refuse(path, "it has no function OrtGetApiBase");
  if (loaded != nullptr) refuse(path, "this process already uses " + loadedPath);
  const ApiBase* base = getApiBase();
  const std::string version = base->getVersionString();
  checkVersion(path, version);
  table = base->getApi(kApiVersion);
  if (table == nullptr) refuse(path, "version " + version + " does not offer API version " + std::to_string(kApiVersion));

  // Builds of Microsoft's send what is loaded and run to them, through a database in the user's cache, unless told not to.
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  // Errors come to us as statuses; the log would only say them again.
  Env* environment = nullptr;
  check(createEnv(kLogFatal, "sparq", &environment));
  loaded = new Runtime(version, environment);
  loadedPath = path;
  loadedHandle = library.release();
  return *loaded;
}

}  // namespace sparq::ort
