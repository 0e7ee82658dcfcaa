// A decoder's graph in ONNX Runtime, run one ragged step at a time.
#pragma once
#include <memory>
#include <string>

#include "attention.h"
#include "ort_ops.h"
#include "ort_runtime.h"
#include "step_input.h"
#include "worker_pool.h"

namespace sparq {

struct SessionConfig {
  int32_t vocabSize;
  int32_t threads;  // >= 1
  bool spinning;    // idle pool threads spin between operators
  bool observe = false;  // sum up what sparse rows keep
  KernelFault fault = KernelFault::None;
};

// Memory for `size` floats that nobody has zeroed; throws std::bad_alloc.
struct FloatsDeleter {
  void operator()(float* data) const;
};
using Floats = std::unique_ptr<float[], FloatsDeleter>;
Floats allocateFloats(size_t size);

struct StepOutput {
  Floats logits;  // [R][vocabSize], or nothing if every row was sampled
  size_t logitCount = 0;
  Floats hidden;  // of a tail that stops before the last layer: [its rows][relayWidth], to go on with
  size_t hiddenCount = 0;
  SampledRows sampled;
  double samplingSeconds = 0;  // of `seconds`
  double attentionSeconds = 0;  // of `seconds`: all layers' attention, the writing of their keys and values included
  Traffic traffic;
  double seconds = 0;  // wall time of the step
  double linearSeconds = 0;  // of `seconds`, in QLinear nodes; of timed steps, as the next
  PhaseTimes phaseTimes;
};

class Session {
 public:
  // The graph's contract: inputs input_ids int64 [1, T] and logit_rows int64 [R]; output logits float [1, R, vocabSize];
  // PagedAttention nodes for every layer of the store; a Relay before each but the first, or none. Throws std::runtime_error that names the file and what is wrong.
  static std::unique_ptr<Session> fromFile(const ort::Runtime& runtime, std::shared_ptr<KvStore> store,
                                           const std::string& graphPath, const SessionConfig& config);
  static std::unique_ptr<Session> fromBytes(const ort::Runtime& runtime, std::shared_ptr<KvStore> store,
                                            const std::string& graph, const SessionConfig& config);

  // Appends the step's keys and values to the store, samples the logit rows that it is to sample, and gives the logits if
  // there are others. Not to be called by two threads at once. Throws std::invalid_argument for an input that breaks its contract (nothing has been written then), ort::Error.
  StepOutput step(const StepInput& input);
  // What step() throws for an input that breaks its contract.
  void checkInput(const StepInput& input) const;
  // [layers], of the steps so far. Not to be touched while a step runs.
  std::vector<Observation>& observations() { return context_.observations; }

  // Throws std::runtime_error if a file of weights that the graph reads where it is has changed: no step succeeds any more.
  void checkFiles() const { context_.checkFiles(); }

  const KvStore& store() const { return *store_; }
  const SessionConfig& config() const { return config_; }
  const std::string& runtimeVersion() const { return runtimeVersion_; }
  // Layers whose attention the graph has.
  int layers() const { return static_cast<int>(context_.layers.size()); }
  // Values of a row between layers, 0 if the graph has no relays and rows cannot stop there.
  int64_t relayWidth() const { return context_.relayWidth; }

 private:
  Session(const ort::Runtime& runtime, std::shared_ptr<KvStore> store, const SessionConfig& config);
  ort::SessionOptionsOwner makeOptions() const;
  void checkGraph();
  SampledRows sample(const SamplingInput& input, float* logits);

  const std::shared_ptr<KvStore> store_;
  const SessionConfig config_;
  const std::string runtimeVersion_;
  StepContext context_;
  Operators operators_;
  ort::MemoryInfoOwner memory_;
  ort::SessionOwner session_;  // after what its operators use: released before it
  ort::IoBindingOwner binding_;
  std::unique_ptr<WorkerPool> samplers_;  // from the first step on that samples
  Floats spareLogits_;                    // of the last step that gave none: fresh memory costs more than sampling
  size_t spareCount_ = 0;
};

}  // namespace sparq
