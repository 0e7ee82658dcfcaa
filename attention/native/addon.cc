// What Node sees: NativeAddon in ../types.ts. Converts and checks what comes from JavaScript, runs steps and loads off the
// main thread, and turns every C++ exception into a JavaScript one.
#include "addon_job.h"
#include "addon_step.h"
#include "addon_values.h"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "addon_bench.h"
#include "addon_memory.h"
#include "attention.h"
#include "mass.h"
#include "rope.h"
#include "runtime_check.h"
#include "session.h"
#include "step_input.h"
#include "worker_pool.h"

namespace sparq {
namespace {

// ---- Objects

// What the store's object, its sessions and running steps share. Used on the main thread but for *store.
struct StoreState {
  std::shared_ptr<KvStore> store;  // sessions hold it too: it outlives them
  int runningSteps = 0;
  bool closed = false;
};

struct SessionState {
  std::unique_ptr<Session> session;
  std::shared_ptr<StoreState> store;
  bool running = false, closed = false;
};

// Per environment: the classes, and what the next object of a class is made of. A constructor that finds nothing was
// called by someone else.
struct Classes {
  Napi::FunctionReference store, session;
  std::shared_ptr<StoreState> newStore;
  std::shared_ptr<SessionState> newSession;
  std::unique_ptr<WorkerPool> samplers;  // of sample(), kept: starting threads takes longer than sampling
  int32_t samplerThreads = 0;
};

Classes& classesOf(Napi::Env env) { return *env.GetInstanceData<Classes>(); }

constexpr napi_type_tag kStoreTag = {0x5f6ad3b5c0de4a11, 0x9c51b7e2a3d84f06};

class StoreObject : public Napi::ObjectWrap<StoreObject> {
 public:
  explicit StoreObject(const Napi::CallbackInfo& info)
      : ObjectWrap(info), state_(std::move(classesOf(info.Env()).newStore)) {
    if (!state_) typeError(info.Env(), "use createKvStore()");
    info.This().As<Napi::Object>().TypeTag(&kStoreTag);
  }

  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "KvStore",
                       {InstanceAccessor<&StoreObject::bytes>("bytes"),
                        InstanceAccessor<&StoreObject::bytesPerBlock>("bytesPerBlock"),
                        InstanceMethod<&StoreObject::copyBlock>("copyBlock"), InstanceMethod<&StoreObject::close>("close")});
  }

  static Napi::Object make(Napi::Env env, std::shared_ptr<StoreState> state) {
    Classes& classes = classesOf(env);
    classes.newStore = std::move(state);
    return classes.store.New({});
  }

  // The open store behind a value; throws for anything else.
  static std::shared_ptr<StoreState> stateOf(const Napi::Value& value, const char* field) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kStoreTag)) {
      typeError(value.Env(), std::string(field) + " must be a KvStore made by createKvStore()");
    }
    const auto state = Unwrap(value.As<Napi::Object>())->state_;
    requireOpen(value.Env(), *state);
    return state;
  }

 private:
  static void requireOpen(Napi::Env env, const StoreState& state) {
    if (state.closed) throw Napi::Error::New(env, "the KV store is closed");
  }

  Napi::Value bytes(const Napi::CallbackInfo& info) {
    requireOpen(info.Env(), *state_);
    return Napi::Number::New(info.Env(), static_cast<double>(state_->store->bytes()));
  }

  Napi::Value bytesPerBlock(const Napi::CallbackInfo& info) {
    requireOpen(info.Env(), *state_);
    return Napi::Number::New(info.Env(), static_cast<double>(state_->store->bytesPerBlock()));
  }

  void copyBlock(const Napi::CallbackInfo& info) {
    requireOpen(info.Env(), *state_);
    if (state_->runningSteps > 0) throw Napi::Error::New(info.Env(), "copyBlock while a step runs on the store");
    const int32_t last = state_->store->shape().blocks - 1;
    const int32_t from = integerOf(info[0], "from", 0, last), to = integerOf(info[1], "to", 0, last);
    if (from != to) guarded(info.Env(), [&] { state_->store->copyBlock(from, to); });
  }

  void close(const Napi::CallbackInfo&) {
    state_->closed = true;
    state_->store.reset();
  }

  std::shared_ptr<StoreState> state_;
};

class StepJob : public Job {
 public:
  StepJob(std::shared_ptr<SessionState> state, StepInput input) : state_(std::move(state)), input_(std::move(input)) {}

 private:
  void started() override {
    state_->running = true;
    state_->store->runningSteps++;
  }

  void run() override { output_ = state_->session->step(input_); }

  void ended() override {
    state_->running = false;
    state_->store->runningSteps--;
    if (state_->closed) state_->session.reset();
  }

  Napi::Value result(Napi::Env env) override {
    Napi::Object object = Napi::Object::New(env);
    object.Set("logits", float32Array(env, std::move(output_.logits), output_.logitCount));
    object.Set("hidden", float32Array(env, std::move(output_.hidden), output_.hiddenCount));
    object.Set("sampled", sampledObject(env, output_.sampled));
    object.Set("traffic", trafficObject(env, output_.traffic));
    object.Set("seconds", output_.seconds);
    object.Set("attentionSeconds", output_.attentionSeconds);
    object.Set("samplingSeconds", output_.samplingSeconds);
    if (input_.timed) object.Set("times", timesObject(env, output_));
    return object;
  }

  const std::shared_ptr<SessionState> state_;
  const StepInput input_;
  StepOutput output_;
};

class SessionObject : public Napi::ObjectWrap<SessionObject> {
 public:
  explicit SessionObject(const Napi::CallbackInfo& info)
      : ObjectWrap(info), state_(std::move(classesOf(info.Env()).newSession)) {
    if (!state_) typeError(info.Env(), "use loadSession()");
    runtimeVersion_ = state_->session->runtimeVersion();
    layers_ = state_->session->layers();
    relayWidth_ = static_cast<double>(state_->session->relayWidth());
  }

  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Session",
                       {InstanceAccessor<&SessionObject::runtimeVersion>("runtimeVersion"),
                        InstanceAccessor<&SessionObject::layers>("layers"),
                        InstanceAccessor<&SessionObject::relayWidth>("relayWidth"), InstanceMethod<&SessionObject::step>("step"),
                        InstanceMethod<&SessionObject::observed>("observed"),
                        InstanceMethod<&SessionObject::resetObserved>("resetObserved"),
                        InstanceMethod<&SessionObject::checkFiles>("checkFiles"),
                        InstanceMethod<&SessionObject::close>("close")});
  }

  static Napi::Object make(Napi::Env env, std::shared_ptr<SessionState> state) {
    Classes& classes = classesOf(env);
    classes.newSession = std::move(state);
    return classes.session.New({});
  }

 private:
  Napi::Value runtimeVersion(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), runtimeVersion_); }
  Napi::Value layers(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), layers_); }
  Napi::Value relayWidth(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), relayWidth_); }

  Napi::Value step(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return rejecting(env, [&]() -> Napi::Value {
      StepInput input = stepInputOf(objectOf(info[0], "the step"));
      if (state_->closed) throw Napi::Error::New(env, "the session is closed");
      if (state_->running) throw Napi::Error::New(env, "a step of this session is running; steps must not overlap");
      state_->session->checkInput(input);
      return Job::start(env, std::make_unique<StepJob>(state_, std::move(input)), "sparq step");
    });
  }

  std::vector<Observation>& idleObservations(Napi::Env env) {
    if (state_->closed) throw Napi::Error::New(env, "the session is closed");
    if (state_->running) throw Napi::Error::New(env, "a step of this session is running");
    return state_->session->observations();
  }

  Napi::Value observed(const Napi::CallbackInfo& info) {
    std::vector<double> sums;
    for (const Observation& layer : idleObservations(info.Env())) {
      sums.insert(sums.end(), {layer.rows, layer.recall, layer.massKept, layer.alpha});
    }
    return copyOf<Napi::Float64Array>(info.Env(), sums);
  }

  void resetObserved(const Napi::CallbackInfo& info) {
    for (Observation& layer : idleObservations(info.Env())) layer = {};
  }

  // A step may run meanwhile.
  void checkFiles(const Napi::CallbackInfo& info) {
    if (!state_->session) return;
    try {
      state_->session->checkFiles();
    } catch (const std::exception& error) {
      throw Napi::Error::New(info.Env(), error.what());
    }
  }

  // A running step ends first, and its promise is kept.
  void close(const Napi::CallbackInfo&) {
    state_->closed = true;
    if (!state_->running) state_->session.reset();
  }

  std::shared_ptr<SessionState> state_;
  std::string runtimeVersion_;
  int layers_ = 0;
  double relayWidth_ = 0;
};

class LoadJob : public Job {
 public:
  explicit LoadJob(const Napi::Object& options)
      : libraryPath_(stringField(options, "libraryPath")),
        graphPath_(stringField(options, "graphPath")),
        config_{.vocabSize = integerField(options, "vocabSize", 1),
                .threads = integerField(options, "threads", 1, kMostThreads),
                .spinning = booleanField(options, "spinning"),
                .observe = flagField(options, "observe"),
                .fault = faultField(options)},
        store_(StoreObject::stateOf(options.Get("store"), "store")),
        kvStore_(store_->store) {}

 private:
  void run() override {
    const ort::Runtime& runtime = ort::Runtime::load(libraryPath_);
    checkRuntime(runtime);
    session_ = Session::fromFile(runtime, kvStore_, graphPath_, config_);
  }

  Napi::Value result(Napi::Env env) override {
    return SessionObject::make(env, std::make_shared<SessionState>(SessionState{std::move(session_), store_}));
  }

  const std::string libraryPath_, graphPath_;
  const SessionConfig config_;
  const std::shared_ptr<StoreState> store_;
  const std::shared_ptr<KvStore> kvStore_;
  std::unique_ptr<Session> session_;
};

// ---- Functions

Napi::Value availablePathNames(const Napi::CallbackInfo& info) {
  const std::vector<Path> paths = availablePaths();
  Napi::Array names = Napi::Array::New(info.Env(), paths.size());
  for (uint32_t i = 0; i < paths.size(); i++) names[i] = Napi::String::New(info.Env(), pathName(paths[i]));
  return names;
}

Napi::Value defaultPathName(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::String::New(info.Env(), pathName(defaultPath())); });
}

Napi::Value createKvStore(const Napi::CallbackInfo& info) {
  const Napi::Object shape = objectOf(info[0], "the shape");
  const StoreShape storeShape{.layers = integerField(shape, "layers", 1),
                              .kvHeads = integerField(shape, "kvHeads", 1),
                              .headDim = integerField(shape, "headDim", 1),
                              .blockSize = integerField(shape, "blockSize", 1),
                              .blocks = integerField(shape, "blocks", 1),
                              .dtype = dtypeField(shape),
                              .scanDtype = scanDtypeField(shape),
                              .trackMass = flagField(shape, "trackMass")};
  return guarded(info.Env(), [&] {
    auto store = std::make_shared<KvStore>(storeShape);
    return StoreObject::make(info.Env(), std::make_shared<StoreState>(StoreState{std::move(store)}));
  });
}

Napi::Value loadSession(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return rejecting(env, [&]() -> Napi::Value {
    return Job::start(env, std::make_unique<LoadJob>(objectOf(info[0], "the options")), "sparq load");
  });
}

// attend(store, path, threads, input), on this thread.
Napi::Value attend(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto state = StoreObject::stateOf(info[0], "store");
    const Path path = pathOf(env, info[1]);
    const int32_t threads = integerOf(info[2], "threads", 1, kMostThreads);
    const Napi::Object input = objectOf(info[3], "the input");
    // Getters of the input may run anything, closing the store included.
    const std::shared_ptr<KvStore> store = state->store;
    const LayerParams params = layerParamsOf(input, store->shape());

    const std::vector<float> qkv = float32Field(input, "qkv");
    const Batch batch = batchOf(input);
    const int64_t width = (int64_t(params.heads) + 2 * int64_t(params.kvHeads)) * params.headDim;
    checkBatch(batch, batch.rowStarts.empty() ? 0 : batch.rowStarts.back(), store->shape());
    const std::vector<Sequence> sequences = batch.sequences();
    const int32_t rows = batch.rowCount();
    requireLength("qkv", qkv.size(), static_cast<size_t>(rows * width));

    std::vector<float> cosSin;
    if (params.rotaryDim > 0) {
      const std::vector<float> frequencies = float32Field(input, "inverseFrequencies");
      requireLength("inverseFrequencies", frequencies.size(), params.rotaryDim / 2);
      fillCosSin(positionsOf(sequences, rows), frequencies, positiveField(input, "ropeScale"), cosSin);
    }
    const ptrdiff_t headDim = params.headDim, kOffset = params.heads * headDim, vOffset = kOffset + params.kvHeads * headDim;
    const auto projection = [&](ptrdiff_t offset) { return Projection{qkv.data(), width, offset, headDim}; };
    const Step step{sequences.data(), static_cast<int32_t>(sequences.size()), rows, cosSin.empty() ? nullptr : cosSin.data()};
    const size_t outLength = size_t(rows) * params.heads * params.headDim;
    Floats out = allocateFloats(outLength);
    Traffic traffic;
    Observation observation;
    const bool observe = flagField(input, "observe");
    if (store->masses()) store->masses()->check(sequences, params.layer);
    if (state->runningSteps > 0) throw std::runtime_error("attend while a step runs on the store");
    WorkerPool pool(threads);
    attendLayer(path, *store, params, step, projection(0), projection(kOffset), projection(vOffset), out.get(), pool.pool(),
                &traffic, {.observation = observe ? &observation : nullptr});

    Napi::Object object = Napi::Object::New(env);
    object.Set("out", float32Array(env, std::move(out), outLength));
    object.Set("traffic", trafficObject(env, traffic));
    if (observe) object.Set("observed", observationObject(env, observation));
    return object;
  });
}

// sample(path, threads, vocabSize, logits, sampling), on this thread.
Napi::Value sample(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&, env = info.Env()]() -> Napi::Value {
    const Path path = pathOf(env, info[0]);
    const int32_t threads = integerOf(info[1], "threads", 1, kMostThreads);
    const int32_t vocabSize = integerOf(info[2], "vocabSize", 1);
    const SamplingInput input = samplingOf(info[4]);
    // After the input's getters, which may run anything.
    if (!info[3].IsTypedArray() || info[3].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
      typeError(env, "logits must be a Float32Array");
    }
    auto logits = info[3].As<Napi::Float32Array>();
    if (logits.ElementLength() % vocabSize != 0) {
      throw std::invalid_argument("logits has " + std::to_string(logits.ElementLength()) + " values, must be rows of " +
                                  std::to_string(vocabSize));
    }
    checkSampling(input, static_cast<int64_t>(logits.ElementLength() / vocabSize), vocabSize);
    Classes& classes = classesOf(env);
    if (classes.samplerThreads != threads) {
      classes.samplers = std::make_unique<WorkerPool>(threads);
      classes.samplerThreads = threads;
    }
    const auto started = std::chrono::steady_clock::now();
    const SampledRows rows = sampleRows(path, logits.Data(), vocabSize, input, classes.samplers->pool());
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
    Napi::Object object = sampledObject(env, rows);
    object.Set("seconds", seconds.count());
    return object;
  });
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  auto classes = std::make_unique<Classes>();
  classes->store = Napi::Persistent(StoreObject::define(env));
  classes->session = Napi::Persistent(SessionObject::define(env));
  env.SetInstanceData(classes.release());
  exports.Set("availablePaths", Napi::Function::New<availablePathNames>(env, "availablePaths"));
  exports.Set("defaultPath", Napi::Function::New<defaultPathName>(env, "defaultPath"));
  exports.Set("createKvStore", Napi::Function::New<createKvStore>(env, "createKvStore"));
  exports.Set("loadSession", Napi::Function::New<loadSession>(env, "loadSession"));
  exports.Set("releaseFreeMemory", Napi::Function::New<releaseFreeMemory>(env, "releaseFreeMemory"));
  exports.Set("attend", Napi::Function::New<attend>(env, "attend"));
  exports.Set("sample", Napi::Function::New<sample>(env, "sample"));
  addBenchFunctions(env, exports);
  return exports;
}

}  // namespace
}  // namespace sparq
using sparq::initialize;
NODE_API_MODULE(sparq, initialize)
