// The custom operators of domain "sparq", version 1, as ONNX Runtime calls them. Tensors are float32 but where noted.
//
// PagedAttention: inputs q, k, v (leading dimensions multiply to the step's rows, last dimension W; may be one and the
//   same tensor) and inverse_frequencies (constant, [rotary_dim / 2]; left out when rotary_dim is 0). Output: q's leading
//   dimensions + [num_heads * head_dim]. Integer attributes layer, num_heads, num_kv_heads, head_dim, rotary_dim,
//   rope_interleaved, window, and {q,k,v}_offset, {q,k,v}_head_stride: component c of head h is at offset + h *
//   head_stride + c of a row. Float attributes scale, rope_scale. All are required.
// Relay: inputs x and addend [1, T, hidden_size], as they come out of the layer before; output [1, T', hidden_size], their sum.
//   T' is another number where the step's tail stops or begins (see Tail in step_input.h): its sums are then handed out, or
//   what was handed out comes in. Integer attributes layer (1 and on; the layer that follows), hidden_size.
// SwiGLU: input [..., 2F], gate then up; output [..., F].
// QLinear: inputs x [..., K], weights (constant, uint8 [bytes], packed as qlinear.h says) and bias [N], which may be left
//   out; output [..., N]. Integer attributes K, N, bits, block_size, half_scales, offsets (0 or 1), planes (int8 values
//   that an input becomes, 1 or 2). All are required.
// QEmbedding: inputs ids (int64 [...]) and weights as above; the same attributes but planes; output [..., K], the rows.
// DenseLinear, DenseEmbedding: the same over weights [N][K] of plain floats (constant, uint8 [bytes]); integer attributes K, N,
//   dtype (0 f32, 1 f16, 2 bf16). Instead of the input, weights may be in a file, which the operator maps: text file, its path;
//   integer file_bytes and text file_modified (nanoseconds since 1970), which it must still have; integers offsets and
//   outputs, the pieces of the matrix one after another (an embedding has one).
// SplitActivations: input [..., K] of T rows, attribute block_size; outputs [2, T, K] and [T, K / block_size].
// JoinProducts: inputs [2, T, N] and, both or neither, [T, B], [B, N]; output [1, T, N]. For these two see
//   quantised_linear.h.
//
// Which sequences the rows belong to does not go through the graph: the operators of a session share its StepContext.
#pragma once
#include <array>
#include <chrono>
#include <map>
#include <vector>

#include "attention.h"
#include "mapped_file.h"
#include "ort_runtime.h"
#include "step_input.h"

namespace sparq {

// cos and sin for one inverse_frequencies tensor; layers that have the same one share it.
struct RopeTable {
  std::vector<float> inverseFrequencies;
  float scale;
  std::vector<float> cosSin;  // of the current step, when `filled`
  bool filled = false;
};

// What the operators of one session share. A step is begun before the graph runs; ONNX Runtime runs a session's
// operators one after another, so nothing here is locked.
class StepContext {
 public:
  StepContext(KvStore& store, Path path, int threads, bool observe, KernelFault fault)
      : store(store), path(path), threads(threads), fault(fault), observe(observe), observations(store.shape().layers) {}

  // The sequences point into memory that must last until the step has ended.
  // So must `parked`, where the tail's rows go that stop before the last layer: [rows][relayWidth].
  // `timed`: it is measured where its time goes.
  void begin(std::vector<Sequence> sequences, int32_t rows, Tail tail = {}, float* parked = nullptr, bool timed = false);

  // The step as this layer sees it.
  int32_t rowsAt(int32_t layer) const { return tail.isIn(layer) ? rows : wholeRows_; }
  int32_t sequencesAt(int32_t layer) const { return tail.isIn(layer) ? static_cast<int32_t>(sequences.size()) : tail.firstSequence; }

  // Forgets the step's sequences and returns what they read.
  Traffic end();

  // The mapped file, opened if nobody has yet. Called while operators are created.
  const MappedFile& file(const std::string& path, int64_t bytes, int64_t modified);
  // Throws std::runtime_error if a file that operators read has changed since: what they have computed is not to be trusted then.
  void checkFiles() const;

  // The table for these frequencies, made if new. Called while operators are created.
  RopeTable* ropeTable(const std::vector<float>& inverseFrequencies, float scale);
  // The table's [rows][frequencies][2] for the current step, computed at the first call in it.
  const float* cosSin(RopeTable& table);
  // Throws std::invalid_argument when another node has the layer already.
  void claimLayer(int32_t layer, const std::string& node);
  // The same for relays, which must agree in their width.
  void claimRelay(int32_t layer, int64_t width, const std::string& node);

  KvStore& store;
  const Path path;
  const int threads;
  const KernelFault fault;
  const bool observe;
  std::vector<Observation> observations;  // [layers], of all steps so far
  std::map<int32_t, std::string> layers;  // layer -> its node's name
  std::map<int32_t, std::string> relays;
  int64_t relayWidth = 0;  // 0: there are no relays
  std::vector<Sequence> sequences;
  int32_t rows = 0;
  Tail tail;
  float* parked = nullptr;
  Traffic traffic;              // of the current step
  double attentionSeconds = 0;  // of the current step, wall time, summed over its layers
  bool timed = false;           // and the next two are measured
  double linearSeconds = 0;     // wall time, of linears of our own; see LinearClock
  PhaseTimes phaseTimes;

 private:
  static void claim(const char* op, std::map<int32_t, std::string>& nodes, int32_t layer, const std::string& node);

  int32_t wholeRows_ = 0;  // before the tail's
  std::vector<std::unique_ptr<RopeTable>> ropeTables_;
  std::vector<std::unique_ptr<MappedFile>> files_;
};

// Counts what passes while it lives among the step's linears, if the step is timed.
class LinearClock {
 public:
  explicit LinearClock(StepContext& context) : context_(context), started_(context.timed ? Clock::now() : Clock::time_point()) {}
  ~LinearClock() {
    if (context_.timed) context_.linearSeconds += std::chrono::duration<double>(Clock::now() - started_).count();
  }
  LinearClock(const LinearClock&) = delete;
  LinearClock& operator=(const LinearClock&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  StepContext& context_;
  const Clock::time_point started_;
};

// The operators of one session, to be added to its options. Must outlive the session.
class Operators {
 public:
  explicit Operators(StepContext& context);
  ort::CustomOpDomain* domain() const { return domain_.get(); }

 private:
  // What ONNX Runtime hands back to us, with a way to the session in it.
  struct Operator : ort::CustomOp {
    StepContext* context;
  };
  friend struct PagedAttention;
  friend struct SwiGlu;
  friend struct SplitActivations;
  friend struct JoinProducts;
  template <typename Weights>
  friend struct LinearOperator;
  template <typename Weights>
  friend struct EmbeddingOperator;
  friend struct Relay;

  std::array<Operator, 9> operators_;
  ort::CustomOpDomainOwner domain_;
};

}  // namespace sparq
