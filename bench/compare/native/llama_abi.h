// The part of llama.cpp's C interface that the peer uses, as release v0.4.0 has it: the libraries of node-llama-cpp 3.21.1.
// The package ships no header. Structs are passed by value, so a library of another release could read garbage; therefore
// `openLibraries` compares the version and the documented defaults before anything else is called.
#pragma once
#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace llama {

inline constexpr const char* kVersion = "0.4.0-dev";  // what the library of release v0.4.0 calls itself
inline constexpr int32_t kFlashAttentionEnabled = 1, kTypeF16 = 1, kLogError = 4, kDeviceCpu = 0;

struct Model;
struct Context;
struct Memory;
struct Vocab;
struct ThreadPool;

struct ModelParams {
  void* devices;
  const void* tensorBufferOverrides;
  int32_t gpuLayers, splitMode, loadMode, lazyMode, mainGpu;
  const float* tensorSplit;
  void* progressCallback;
  void* progressUserData;
  const void* kvOverrides;
  bool vocabOnly, checkTensors, useExtraBuffers, noHost, noAlloc, loadMtp;
};

struct ContextParams {
  uint32_t contextLength, batch, microBatch, maxSequences, recurrentSnapshots, maxOutputs, maxOutputsPerSequence;
  int32_t threads, threadsBatch;
  int32_t contextType, ropeScalingType, poolingType, attentionType, flashAttention;
  float ropeFrequencyBase, ropeFrequencyScale, yarnExtFactor, yarnAttnFactor, yarnBetaFast, yarnBetaSlow;
  uint32_t yarnOriginalContext;
  float defragThreshold;
  void* evalCallback;
  void* evalUserData;
  int32_t typeK, typeV;
  void* abortCallback;
  void* abortUserData;
  bool embeddings, offloadKqv, noPerf, opOffload, swaFull, kvUnified;
  void* samplers;
  size_t samplerCount;
  Context* other;
};

struct Batch {
  int32_t count;
  int32_t* token;
  float* embedding;
  int32_t* position;
  int32_t* sequenceCount;
  int32_t** sequences;
  int8_t* logits;
};

struct ThreadPoolParams {
  bool cpuMask[512];
  int32_t threads, priority;
  uint32_t poll;
  bool strictCpu, paused;
};

// Room behind a struct that the library writes: one that grew overwrites this and not the stack, and is refused after.
template <typename T>
struct Roomy : T {
  char room[512];
};

using LogCallback = void (*)(int32_t level, const char* text, void* user);

struct Api {
  const char* (*version)();
  Roomy<ModelParams> (*modelDefaults)();
  Roomy<ContextParams> (*contextDefaults)();
  void (*backendInit)();
  void (*logSet)(LogCallback, void*);
  const char* (*systemInfo)();
  Model* (*loadModel)(const char* path, Roomy<ModelParams>);
  Context* (*newContext)(Model*, Roomy<ContextParams>);
  void (*freeContext)(Context*);
  void (*attachThreadPool)(Context*, ThreadPool* decode, ThreadPool* prefill);
  const Vocab* (*vocabOf)(const Model*);
  int32_t (*vocabSize)(const Vocab*);
  int32_t (*layers)(const Model*);
  Memory* (*memoryOf)(const Context*);
  void (*memoryClear)(Memory*, bool data);
  bool (*removePositions)(Memory*, int32_t sequence, int32_t from, int32_t to);
  void (*copySequence)(Memory*, int32_t source, int32_t target, int32_t from, int32_t to);
  size_t (*saveSequence)(Context*, const char* file, int32_t sequence, const int32_t* tokens, size_t count);
  size_t (*loadSequence)(Context*, const char* file, int32_t sequence, int32_t* tokens, size_t capacity, size_t* count);
  Batch (*newBatch)(int32_t tokens, int32_t embedding, int32_t maxSequences);
  int32_t (*decode)(Context*, Batch);
  void (*synchronize)(Context*);
  float* (*logitsOf)(Context*, int32_t token);
  void (*loadBackends)(const char* folder);
  void* (*deviceByType)(int32_t type);
  void* (*registryOf)(void* device);
  const char* (*deviceDescription)(void* device);
  void* (*procAddress)(void* registry, const char* name);
  void (*threadPoolInit)(ThreadPoolParams*, int32_t threads);
};

inline void* openLibrary(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) throw std::runtime_error(std::string("cannot load llama.cpp: ") + dlerror());
  return library;
}

template <typename F>
void bind(void* library, F& function, const char* name) {
  function = reinterpret_cast<F>(dlsym(library, name));
  if (function == nullptr) throw std::runtime_error(std::string("llama.cpp's library has no ") + name);
}

inline void requireDefault(bool holds, const char* what) {
  if (holds) return;
  throw std::runtime_error(std::string("llama.cpp's ") + what + " differ from release v0.4.0's: its structs are laid out differently");
}

// Loads the libraries in `folder` and makes sure that they are the release this file describes. Throws std::runtime_error.
inline Api openLibraries(const std::string& folder) {
  Api api{};
  void* base = openLibrary(folder + "/libggml-base.so");
  void* ggml = openLibrary(folder + "/libggml.v0.4.0.so");
  void* llama = openLibrary(folder + "/libllama.v0.4.0.so");
  bind(llama, api.version, "llama_version");
  if (api.version() != std::string(kVersion)) {
    throw std::runtime_error("llama.cpp's library is version " + std::string(api.version()) + ", needs " + kVersion);
  }
  bind(llama, api.modelDefaults, "llama_model_default_params");
  bind(llama, api.contextDefaults, "llama_context_default_params");
  bind(llama, api.backendInit, "llama_backend_init");
  bind(llama, api.logSet, "llama_log_set");
  bind(llama, api.systemInfo, "llama_print_system_info");
  bind(llama, api.loadModel, "llama_model_load_from_file");
  bind(llama, api.newContext, "llama_init_from_model");
  bind(llama, api.freeContext, "llama_free");
  bind(llama, api.attachThreadPool, "llama_attach_threadpool");
  bind(llama, api.vocabOf, "llama_model_get_vocab");
  bind(llama, api.vocabSize, "llama_vocab_n_tokens");
  bind(llama, api.layers, "llama_model_n_layer");
  bind(llama, api.memoryOf, "llama_get_memory");
  bind(llama, api.memoryClear, "llama_memory_clear");
  bind(llama, api.removePositions, "llama_memory_seq_rm");
  bind(llama, api.copySequence, "llama_memory_seq_cp");
  bind(llama, api.saveSequence, "llama_state_seq_save_file");
  bind(llama, api.loadSequence, "llama_state_seq_load_file");
  bind(llama, api.newBatch, "llama_batch_init");
  bind(llama, api.decode, "llama_decode");
  bind(llama, api.synchronize, "llama_synchronize");
  bind(llama, api.logitsOf, "llama_get_logits_ith");
  bind(ggml, api.loadBackends, "ggml_backend_load_all_from_path");
  bind(ggml, api.deviceByType, "ggml_backend_dev_by_type");
  bind(base, api.registryOf, "ggml_backend_dev_backend_reg");
  bind(base, api.deviceDescription, "ggml_backend_dev_description");
  bind(base, api.procAddress, "ggml_backend_reg_get_proc_address");
  bind(base, api.threadPoolInit, "ggml_threadpool_params_init");

  const ModelParams model = api.modelDefaults();
  requireDefault(model.devices == nullptr && model.gpuLayers == -1 && model.splitMode == 1 && model.loadMode == -1 &&
                     model.lazyMode == 1 && model.kvOverrides == nullptr && !model.vocabOnly && !model.checkTensors &&
                     model.useExtraBuffers && !model.noHost && !model.noAlloc,
                 "default model parameters");
  const ContextParams context = api.contextDefaults();
  requireDefault(context.contextLength == 512 && context.batch == 2048 && context.microBatch == 512 &&
                     context.maxSequences == 1 && context.maxOutputsPerSequence == 1 && context.threads == 4 &&
                     context.threadsBatch == 4 && context.flashAttention == -1 && context.yarnExtFactor == -1.0f &&
                     context.defragThreshold == -1.0f && context.typeK == kTypeF16 && context.typeV == kTypeF16 &&
                     !context.embeddings && context.offloadKqv && context.noPerf && context.opOffload &&
                     context.swaFull && !context.kvUnified && context.samplers == nullptr && context.other == nullptr,
                 "default context parameters");
  ThreadPoolParams pool{};
  api.threadPoolInit(&pool, 7);
  requireDefault(pool.threads == 7 && pool.priority == 0 && pool.poll == 50 && !pool.strictCpu && !pool.paused,
                 "default thread pool parameters");
  return api;
}

}  // namespace llama
