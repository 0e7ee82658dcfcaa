// The bridge to ONNX Runtime under the sanitizers: the runtime check makes a session, runs a step and frees it.
//
// Skipped where npm has not installed onnxruntime-node, or without a build of it for this machine.
#include <sys/stat.h>

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include "runtime_check.h"

// ONNX Runtime 1.30 itself never frees 14 bytes of the first graph that it loads. The price of this line: what it allocates
// for us and we forget is not seen either; the addon's tests open and close sessions many times for that.
extern "C" __attribute__((visibility("default"))) const char* __lsan_default_suppressions() { return "leak:libonnxruntime\n"; }

namespace {

std::string libraryPath() {
#if defined(__APPLE__)
  const std::string platform = "darwin", file = "libonnxruntime.1.dylib";
#else
  const std::string platform = "linux", file = "libonnxruntime.so.1";
#endif
#if defined(__aarch64__)
  const std::string machine = "arm64";
#else
  const std::string machine = "x64";
#endif
  return "../../node_modules/onnxruntime-node/bin/napi-v6/" + platform + "/" + machine + "/" + file;
}

}  // namespace

int main() {
  const std::string path = libraryPath();
  struct stat found {};
  if (stat(path.c_str(), &found) != 0) {
    std::printf("session_test: skipped, there is no %s\n", path.c_str());
    return 0;
  }
  try {
    const auto& runtime = sparq::ort::Runtime::load(path);
    sparq::checkRuntime(runtime);
    if (&sparq::ort::Runtime::load(path) != &runtime) throw std::runtime_error("the library was loaded twice");
    std::printf("session_test: ok on ONNX Runtime %s\n", runtime.version().c_str());
    return 0;
  } catch (const std::exception& error) {
    std::printf("FAILED: %s\n", error.what());
    return 1;
  }
}
