// The custom operators of domain "sparq", version 1, as ONNX Runtime calls them. Tensors are float32 but where noted.
//
// PagedAttention: inputs q, k, v (leading dimensions multiply to the step's rows, last dimension W; may be one and the
//   same tensor) and inverse_frequencies (constant, [rotary_dim / 2]; left out when rotary_dim is 0). Output: q's leading
//   dimensions + [num_heads * head_dim]. Integer attributes layer, num_heads, num_kv_heads, head_dim, rotary_dim,
//   rope_interleaved, window, and {q,k,v}_offset, {q,k,v}_head_stride: component c of head h is at offset + h *
//   head_stride + c of a row. Float attributes scale, rope_scale. All are required.
// SwiGLU: input [..., 2F], gate then up; output [..., F].
// QLinear: inputs x [..., K], weights (constant, uint8 [bytes], packed as qlinear.h says) and bias [N], which may be left
//   out; output [..., N]. Integer attributes K, N, bits, block_size, half_scales, offsets (0 or 1), planes (int8 values
//   that an input becomes, 1 or 2). All are required.
// QEmbedding: inputs ids (int64 [...]) and weights as above; the same attributes but planes; output [..., K], the rows.
// SplitActivations: input [..., K] of T rows, attribute block_size; outputs [2, T, K] and [T, K / block_size].
// JoinProducts: inputs [2, T, N] and, both or neither, [T, B], [B, N]; output [1, T, N]. For these two see
//   quantised_linear.h.
//
// Which sequences the rows belong to does not go through the graph: the operators of a session share its StepContext.
#pragma once
#include <array>
#include <map>
#include <vector>

#include "attention.h"
#include "ort_runtime.h"

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
  StepContext(KvStore& store, Path path, int threads) : store(store), path(path), threads(threads) {}

  // The sequences point into memory that must last until the step has ended.
  void begin(std::vector<Sequence> sequences, int32_t rows);

  // Forgets the step's sequences and returns what they read.
  Traffic end();

  // The table for these frequencies, made if new. Called while operators are created.
  RopeTable* ropeTable(const std::vector<float>& inverseFrequencies, float scale);
  // The table's [rows][frequencies][2] for the current step, computed at the first call in it.
  const float* cosSin(RopeTable& table);
  // Throws std::invalid_argument when another node has the layer already.
  void claimLayer(int32_t layer, const std::string& node);

  KvStore& store;
  const Path path;
  const int threads;
  std::map<int32_t, std::string> layers;  // layer -> its node's name
  std::vector<Sequence> sequences;
  int32_t rows = 0;
  Traffic traffic;              // of the current step
  double attentionSeconds = 0;  // of the current step, wall time, summed over its layers

 private:
  std::vector<std::unique_ptr<RopeTable>> ropeTables_;
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
  friend struct QLinear;

  std::array<Operator, 6> operators_;
  ort::CustomOpDomainOwner domain_;
};

}  // namespace sparq
