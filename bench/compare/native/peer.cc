// llama.cpp as the other side of `sparq bench compare`: peer LIBRARIES MODEL.gguf THREADS
//
// Reads requests of whitespace-separated words from stdin and answers each with one line of JSON on stdout:
//   open POSITIONS SEQUENCES      a context with a cache of its own for each sequence
//   check N ID...                 top-1 token after each of N tokens, in a small context
//   fill N ID...                  prefills sequence 0 from position 0, in the time it reports, and copies it to the others
//   save FILE N ID...             writes sequence 0, which these tokens filled, to a file
//   load FILE N                   as fill, from such a file; {"loaded": false} if it is none of N tokens
//   decode START N STEPS ID...    STEPS steps of one token for each of N sequences from position START, then takes them back
//   cpu                           processor seconds used so far, by all threads
// The first line, before any request, says what was loaded. A failure is {"error": ...}, and the program ends.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <iostream>
#include <sstream>
#include <vector>

#include "llama_abi.h"

namespace {

constexpr int32_t kChunk = 512;  // llama.cpp's default micro-batch

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void onLog(int32_t level, const char* text, void*) {
  if (level >= llama::kLogError) std::fputs(text, stderr);
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return result + '"';
}

template <typename T>
std::string listOf(const std::vector<T>& values) {
  std::ostringstream text;
  text.precision(9);
  for (size_t i = 0; i < values.size(); i++) text << (i == 0 ? "[" : ",") << values[i];
  return values.empty() ? "[]" : text.str() + "]";
}

std::vector<int32_t> readIds(size_t count) {
  std::vector<int32_t> ids(count);
  for (auto& id : ids) {
    if (!(std::cin >> id)) throw std::runtime_error("the request ended early");
  }
  return ids;
}

class Peer {
 public:
  Peer(const std::string& libraries, const std::string& modelPath, int32_t threads)
      : api_(llama::openLibraries(libraries)), threads_(threads) {
    api_.logSet(onLog, nullptr);
    api_.loadBackends(libraries.c_str());
    api_.backendInit();
    model_ = api_.loadModel(modelPath.c_str(), api_.modelDefaults());
    if (model_ == nullptr) throw std::runtime_error("llama.cpp cannot load " + modelPath);
    vocab_ = api_.vocabSize(api_.vocabOf(model_));
    makeThreadPool();
  }

  std::string describe() {
    std::ostringstream text;
    text << "{\"version\":" << quoted(api_.version()) << ",\"system\":" << quoted(api_.systemInfo())
         << ",\"device\":" << quoted(api_.deviceDescription(device_)) << ",\"vocabSize\":" << vocab_
         << ",\"layers\":" << api_.layers(model_) << "}";
    return text.str();
  }

  void open(int32_t positions, int32_t sequences) {
    if (context_ != nullptr) api_.freeContext(context_);
    context_ = newContext(positions, sequences, 1);
    sequences_ = sequences;
  }

  std::string check(const std::vector<int32_t>& ids) {
    const auto count = static_cast<int32_t>(ids.size());
    llama::Context* context = newContext(count, 1, 0);
    batch_.count = 0;
    for (int32_t i = 0; i < count; i++) add(ids[i], i, 0, true);
    run(context);
    std::vector<int32_t> top;
    bool finite = true;
    for (int32_t i = 0; i < count; i++) {
      const float* logits = api_.logitsOf(context, i);
      finite = finite && allFinite(logits);
      top.push_back(static_cast<int32_t>(std::max_element(logits, logits + vocab_) - logits));
    }
    api_.freeContext(context);
    return "{\"top\":" + listOf(top) + ",\"finite\":" + (finite ? "true" : "false") + "}";
  }

  std::string fill(const std::vector<int32_t>& ids) {
    llama::Memory* memory = api_.memoryOf(context_);
    api_.memoryClear(memory, false);
    const auto count = static_cast<int32_t>(ids.size());
    const auto started = Clock::now();
    for (int32_t start = 0; start < count; start += kChunk) {
      batch_.count = 0;
      const int32_t end = std::min(count, start + kChunk);
      for (int32_t i = start; i < end; i++) add(ids[i], i, 0, i == count - 1);
      run(context_);
    }
    const double seconds = secondsSince(started);
    copyToOthers();
    std::ostringstream text;
    text << "{\"seconds\":" << seconds << "}";
    return text.str();
  }

  void save(const std::string& file, const std::vector<int32_t>& ids) {
    if (api_.saveSequence(context_, file.c_str(), 0, ids.data(), ids.size()) == 0) {
      throw std::runtime_error("llama.cpp cannot write " + file);
    }
  }

  std::string load(const std::string& file, size_t count) {
    api_.memoryClear(api_.memoryOf(context_), false);
    std::vector<int32_t> ids(count);
    size_t loaded = 0;
    const size_t bytes = api_.loadSequence(context_, file.c_str(), 0, ids.data(), count, &loaded);
    if (bytes == 0 || loaded != count) return "{\"loaded\":false}";
    copyToOthers();
    return "{\"loaded\":true}";
  }

  std::string decode(int32_t start, int32_t sequences, int32_t steps, const std::vector<int32_t>& ids) {
    std::vector<double> milliseconds;
    bool finite = true;
    for (int32_t step = 0; step < steps; step++) {
      batch_.count = 0;
      for (int32_t i = 0; i < sequences; i++) add(ids[size_t(step) * sequences + i], start + step, i, true);
      const auto started = Clock::now();
      run(context_);
      milliseconds.push_back(secondsSince(started) * 1000);
      for (int32_t i = 0; i < sequences; i++) finite = finite && allFinite(api_.logitsOf(context_, i));
    }
    llama::Memory* memory = api_.memoryOf(context_);
    for (int32_t i = 0; i < sequences; i++) {
      if (!api_.removePositions(memory, i, start, -1)) throw std::runtime_error("llama.cpp cannot take positions back");
    }
    return "{\"milliseconds\":" + listOf(milliseconds) + ",\"finite\":" + (finite ? "true" : "false") + "}";
  }

 private:
  // As llama.cpp's own benchmark: without a pool of its own a context makes threads anew for every graph.
  void makeThreadPool() {
    device_ = api_.deviceByType(llama::kDeviceCpu);
    if (device_ == nullptr) throw std::runtime_error("llama.cpp found no CPU backend");
    using NewPool = llama::ThreadPool* (*)(llama::ThreadPoolParams*);
    const auto newPool = reinterpret_cast<NewPool>(api_.procAddress(api_.registryOf(device_), "ggml_threadpool_new"));
    if (newPool == nullptr) throw std::runtime_error("llama.cpp's CPU backend has no ggml_threadpool_new");
    llama::ThreadPoolParams params{};
    api_.threadPoolInit(&params, threads_);
    pool_ = newPool(&params);
    if (pool_ == nullptr) throw std::runtime_error("llama.cpp cannot start " + std::to_string(threads_) + " threads");
  }

  // A stream of the cache for each sequence: nothing is shared, and none attends over another's positions.
  llama::Context* newContext(int32_t positions, int32_t sequences, uint32_t outputsPerSequence) {
    auto params = api_.contextDefaults();
    params.contextLength = static_cast<uint32_t>((positions + 255) / 256 * 256 * sequences);
    params.batch = params.microBatch = kChunk;
    params.maxSequences = sequences;
    params.maxOutputsPerSequence = outputsPerSequence;
    params.threads = params.threadsBatch = threads_;
    params.flashAttention = llama::kFlashAttentionEnabled;
    params.kvUnified = false;
    llama::Context* context = api_.newContext(model_, params);
    if (context == nullptr) {
      throw std::runtime_error("llama.cpp cannot make a context of " + std::to_string(sequences) + " x " +
                               std::to_string(positions) + " positions");
    }
    api_.attachThreadPool(context, pool_, nullptr);
    return context;
  }

  void copyToOthers() {
    for (int32_t sequence = 1; sequence < sequences_; sequence++) {
      api_.copySequence(api_.memoryOf(context_), 0, sequence, -1, -1);
    }
  }

  bool allFinite(const float* logits) const {
    return std::all_of(logits, logits + vocab_, [](float logit) { return std::isfinite(logit); });
  }

  void add(int32_t id, int32_t position, int32_t sequence, bool logits) {
    if (id < 0 || id >= vocab_) throw std::runtime_error("token " + std::to_string(id) + " is not in the vocabulary");
    const int32_t row = batch_.count++;
    batch_.token[row] = id;
    batch_.position[row] = position;
    batch_.sequenceCount[row] = 1;
    batch_.sequences[row][0] = sequence;
    batch_.logits[row] = logits;
  }

  void run(llama::Context* context) {
    const int32_t status = api_.decode(context, batch_);
    if (status != 0) throw std::runtime_error("llama_decode returned " + std::to_string(status));
    api_.synchronize(context);
  }

  llama::Api api_;
  int32_t threads_;
  llama::Model* model_ = nullptr;
  llama::Context* context_ = nullptr;
  llama::ThreadPool* pool_ = nullptr;
  void* device_ = nullptr;
  llama::Batch batch_ = api_.newBatch(kChunk, 0, 1);
  int32_t vocab_ = 0, sequences_ = 0;
};

std::string cpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](timeval time) { return double(time.tv_sec) + double(time.tv_usec) / 1e6; };
  std::ostringstream text;
  text << std::fixed << "{\"seconds\":" << seconds(usage.ru_utime) + seconds(usage.ru_stime) << "}";
  return text.str();
}

std::string answer(Peer& peer, const std::string& request) {
  const auto number = [] { return readIds(1)[0]; };
  if (request == "cpu") return cpuSeconds();
  if (request == "open") {
    const int32_t positions = number();
    peer.open(positions, number());
    return "{}";
  }
  if (request == "check") return peer.check(readIds(number()));
  if (request == "fill") return peer.fill(readIds(number()));
  if (request == "save" || request == "load") {
    std::string file;
    std::cin >> file;
    const size_t count = number();
    if (request == "load") return peer.load(file, count);
    peer.save(file, readIds(count));
    return "{}";
  }
  if (request == "decode") {
    const int32_t start = number(), sequences = number(), steps = number();
    return peer.decode(start, sequences, steps, readIds(size_t(sequences) * steps));
  }
  throw std::runtime_error("unknown request " + request);
}

}  // namespace

int main(int argc, char** argv) {
  int status = 0;
  try {
    if (argc != 4) throw std::runtime_error("usage: peer LIBRARIES MODEL.gguf THREADS");
    Peer peer(argv[1], argv[2], std::stoi(argv[3]));
    std::cout << peer.describe() << std::endl;
    for (std::string request; std::cin >> request;) std::cout << answer(peer, request) << std::endl;
  } catch (const std::exception& error) {
    std::cout << "{\"error\":" << quoted(error.what()) << "}" << std::endl;
    status = 1;
  }
  std::fflush(stderr);
  _Exit(status);  // the libraries' static destructors are none of our business
}
