#include "ort_ops.h"

#include <cmath>
#include <stdexcept>

#include "quantised_linear.h"
#include "rope.h"
#include "step_input.h"
#include "swiglu.h"

namespace sparq {

using ort::check;

namespace {

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

const float* dataOf(const ort::Value* value) {
  void* data = nullptr;
  check(ort::getTensorMutableData(const_cast<ort::Value*>(value), &data));
  return static_cast<const float*>(data);
}

Input inputOf(const ort::KernelContext* context, size_t index) {
  const ort::Value* value = nullptr;
  check(ort::kernelContextGetInput(context, index, &value));
  return {dataOf(value), ort::shapeOf(value)};
}

float* outputOf(ort::KernelContext* context, const std::vector<int64_t>& shape, size_t index = 0) {
  ort::Value* value = nullptr;
  check(ort::kernelContextGetOutput(context, index, shape.data(), shape.size(), &value));
  return const_cast<float*>(dataOf(value));
}

// ONNX Runtime's threads, for as long as an operator runs.
Pool poolOf(ort::KernelContext* context, int threads) {
  const auto run = [](void* context, size_t n, void (*task)(void*, size_t), void* user) {
    check(ort::kernelContextParallelFor(static_cast<const ort::KernelContext*>(context), task, n, 0, user));
  };
  return {context, run, threads};
}

std::string nodeNameOf(const ort::KernelInfo* info) {
  size_t size = 0;
  check(ort::kernelInfoGetNodeName(info, nullptr, &size));
  std::string name(size, '\0');
  check(ort::kernelInfoGetNodeName(info, name.data(), &size));
  name.resize(size > 0 ? size - 1 : 0);  // without the terminator
  return name;
}

// Reads and checks the attributes of one PagedAttention node; errors name the node, its layer and the attribute.
class Attributes {
 public:
  explicit Attributes(const ort::KernelInfo* info) : info_(info), node_(nodeNameOf(info)) {}

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

  float positive(const char* name) const {
    float value = 0;
    read(name, "float", ort::kernelInfoGetFloat(info_, name, &value));
    if (!(value > 0) || !std::isfinite(value)) fail(std::string(name) + " is " + std::to_string(value) + ", must be above 0");
    return value;
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw std::invalid_argument("sparq.PagedAttention node \"" + node_ + "\"" + layer_ + ": " + message);
  }

 private:
  void read(const char* name, const char* type, ort::Status* status) const {
    try {
      check(status);
    } catch (const ort::Error& error) {
      fail("needs the " + std::string(type) + " attribute " + name + " (" + error.what() + ")");
    }
  }

  const ort::KernelInfo* info_;
  std::string node_, layer_;
};

constexpr int32_t kMost = INT32_MAX;

// Where a projection's heads are in a row.
struct Heads {
  const char* name;
  int32_t count, offset, stride;

  Heads(const Attributes& attributes, const char* name, int32_t count)
      : name(name),
        count(count),
        offset(attributes.integer((std::string(name) + "_offset").c_str(), 0, kMost)),
        stride(attributes.integer((std::string(name) + "_head_stride").c_str(), 0, kMost)) {}

  int64_t end(int32_t headDim) const { return int64_t(offset) + int64_t(count - 1) * stride + headDim; }
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

}  // namespace

struct PagedAttention {
  PagedAttention(const ort::CustomOp* op, const ort::KernelInfo* info)
      : PagedAttention(*static_cast<const Operators::Operator*>(op)->context, info, Attributes(info)) {}

  PagedAttention(StepContext& context, const ort::KernelInfo* info, Attributes attributes)
      : context(context), node(attributes.node()), params(readParams(attributes, context.store.shape())),
        q(attributes, "q", params.heads), k(attributes, "k", params.kvHeads), v(attributes, "v", params.kvHeads) {
    if (params.rotaryDim > 0) rope = readRope(attributes, info);
    context.claimLayer(params.layer, node);
  }

  static LayerParams readParams(Attributes& attributes, const StoreShape& store) {
    LayerParams params{};
    params.layer = attributes.integer("layer", 0, store.layers - 1);
    attributes.inLayer(params.layer);
    params.kvHeads = attributes.integer("num_kv_heads", store.kvHeads, store.kvHeads);
    params.headDim = attributes.integer("head_dim", store.headDim, store.headDim);
    params.heads = attributes.integer("num_heads", params.kvHeads, kMost / params.headDim);
    if (params.heads % params.kvHeads != 0) {
      attributes.fail("num_heads is " + std::to_string(params.heads) + ", must be a multiple of num_kv_heads, " +
                      std::to_string(params.kvHeads));
    }
    params.rotaryDim = attributes.integer("rotary_dim", 0, params.headDim);
    if (params.rotaryDim % 2 != 0) attributes.fail("rotary_dim is " + std::to_string(params.rotaryDim) + ", must be even");
    params.interleaved = attributes.integer("rope_interleaved", 0, 1);
    params.window = attributes.integer("window", 0, kMost);
    params.scale = attributes.positive("scale");
    return params;
  }

  RopeTable* readRope(const Attributes& attributes, const ort::KernelInfo* info) const {
    int isConstant = 0;
    const ort::Value* value = nullptr;
    check(ort::kernelInfoGetConstantInput(info, 3, &isConstant, &value));
    if (!isConstant || value == nullptr) {
      attributes.fail("rotary_dim is " + std::to_string(params.rotaryDim) +
                      ", so input 3, inverse_frequencies, must be a constant initializer");
    }
    const std::vector<int64_t> shape = ort::shapeOf(value);
    if (shape != std::vector<int64_t>{params.rotaryDim / 2}) {
      attributes.fail("inverse_frequencies has shape " + ort::shapeText(shape) + ", must be [rotary_dim / 2] = [" +
                      std::to_string(params.rotaryDim / 2) + "]");
    }
    const float* data = dataOf(value);
    return context.ropeTable(std::vector<float>(data, data + shape[0]), attributes.positive("rope_scale"));
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw std::invalid_argument("sparq.PagedAttention node \"" + node + "\" (layer " + std::to_string(params.layer) +
                                "): " + message);
  }

  Projection projectionOf(const Heads& heads, const Input& input) const {
    if (input.shape.size() < 2 || input.rows() != context.rows) {
      fail(std::string(heads.name) + " has shape " + ort::shapeText(input.shape) + " in a step of " +
           std::to_string(context.rows) + " rows");
    }
    if (heads.end(params.headDim) > input.width()) {
      fail(std::string(heads.name) + " has rows of " + std::to_string(input.width()) + " values, its " +
           std::to_string(heads.count) + " heads reach to " + std::to_string(heads.end(params.headDim)));
    }
    return {input.data, static_cast<ptrdiff_t>(input.width()), heads.offset, heads.stride};
  }

  void compute(ort::KernelContext* kernelContext) const {
    const Input query = inputOf(kernelContext, 0);
    const Projection qProjection = projectionOf(q, query);
    const Projection kProjection = projectionOf(k, inputOf(kernelContext, 1));
    const Projection vProjection = projectionOf(v, inputOf(kernelContext, 2));
    std::vector<int64_t> outShape = query.shape;
    outShape.back() = int64_t(params.heads) * params.headDim;
    float* out = outputOf(kernelContext, outShape);
    const Step step{context.sequences.data(), static_cast<int32_t>(context.sequences.size()), context.rows,
                    rope ? context.cosSin(*rope) : nullptr};
    attendLayer(context.path, context.store, params, step, qProjection, kProjection, vProjection, out,
                poolOf(kernelContext, context.threads), &context.traffic);
  }

  StepContext& context;
  const std::string node;
  const LayerParams params;
  const Heads q, k, v;
  RopeTable* rope = nullptr;
};

struct SwiGlu {
  SwiGlu(const ort::CustomOp* op, const ort::KernelInfo*) : context(*static_cast<const Operators::Operator*>(op)->context) {}

  void compute(ort::KernelContext* kernelContext) const {
    const Input input = inputOf(kernelContext, 0);
    if (input.shape.empty() || input.width() % 2 != 0) {
      throw std::invalid_argument("sparq.SwiGLU: input has shape " + ort::shapeText(input.shape) +
                                  ", its last dimension must be even");
    }
    std::vector<int64_t> outShape = input.shape;
    outShape.back() /= 2;
    float* out = outputOf(kernelContext, outShape);
    swiglu(context.path, input.data, out, input.rows(), outShape.back(), poolOf(kernelContext, context.threads));
  }

  StepContext& context;
};

struct SplitActivations {
  SplitActivations(const ort::CustomOp* op, const ort::KernelInfo* info)
      : context(*static_cast<const Operators::Operator*>(op)->context) {
    check(ort::kernelInfoGetInt64(info, "block_size", &blockSize));
    if (blockSize < 16 || blockSize % 16 != 0) {
      throw std::invalid_argument("sparq.SplitActivations: block_size is " + std::to_string(blockSize) +
                                  ", must be a multiple of 16");
    }
  }

  void compute(ort::KernelContext* kernelContext) const {
    const Input input = inputOf(kernelContext, 0);
    if (input.shape.empty() || input.width() == 0 || input.width() % blockSize != 0) {
      throw std::invalid_argument("sparq.SplitActivations: input has shape " + ort::shapeText(input.shape) +
                                  ", its last dimension must be a multiple of block_size = " + std::to_string(blockSize));
    }
    const int64_t rows = input.rows(), columns = input.width();
    float* halves = outputOf(kernelContext, {2, rows, columns}, 0);
    float* sums = outputOf(kernelContext, {rows, columns / blockSize}, 1);
    splitActivations(context.path, input.data, halves, sums, rows, columns, blockSize,
                     poolOf(kernelContext, context.threads));
  }

  StepContext& context;
  int64_t blockSize = 0;
};

struct JoinProducts {
  JoinProducts(const ort::CustomOp* op, const ort::KernelInfo*)
      : context(*static_cast<const Operators::Operator*>(op)->context) {}

  void compute(ort::KernelContext* kernelContext) const {
    const Input products = inputOf(kernelContext, 0);
    size_t inputs = 0;
    check(ort::kernelContextGetInputCount(kernelContext, &inputs));
    Input sums{nullptr, {0}}, offsets{nullptr, {0}};
    if (inputs == 3) sums = inputOf(kernelContext, 1), offsets = inputOf(kernelContext, 2);
    const int64_t blocks = sums.width();
    const bool fits = products.shape.size() == 3 && products.shape[0] == 2;
    const bool offsetsFit = blocks == 0 || (sums.shape.size() == 2 && sums.shape[0] == products.shape[1] &&
                                            offsets.shape == std::vector<int64_t>{blocks, products.width()});
    if (!fits || !offsetsFit) {
      throw std::invalid_argument("sparq.JoinProducts: shapes " + ort::shapeText(products.shape) + ", " +
                                  ort::shapeText(sums.shape) + ", " + ort::shapeText(offsets.shape) +
                                  " are not [2, rows, columns], [rows, blocks], [blocks, columns]");
    }
    const int64_t rows = products.shape[1], columns = products.shape[2];
    float* out = outputOf(kernelContext, {1, rows, columns});
    joinProducts(context.path, products.data, sums.data, offsets.data, out, rows, columns, blocks,
                 poolOf(kernelContext, context.threads));
  }

  StepContext& context;
};

void StepContext::begin(std::vector<Sequence> newSequences, int32_t newRows) {
  sequences = std::move(newSequences);
  rows = newRows;
  traffic = {};
  for (auto& table : ropeTables_) table->filled = false;
}

Traffic StepContext::end() {
  sequences.clear();
  rows = 0;
  return traffic;
}

RopeTable* StepContext::ropeTable(const std::vector<float>& inverseFrequencies, float scale) {
  for (auto& table : ropeTables_) {
    if (table->inverseFrequencies == inverseFrequencies && table->scale == scale) return table.get();
  }
  ropeTables_.push_back(std::make_unique<RopeTable>(RopeTable{inverseFrequencies, scale, {}}));
  return ropeTables_.back().get();
}

const float* StepContext::cosSin(RopeTable& table) {
  if (!table.filled) fillCosSin(positionsOf(sequences, rows), table.inverseFrequencies, table.scale, table.cosSin);
  table.filled = true;
  return table.cosSin.data();
}

void StepContext::claimLayer(int32_t layer, const std::string& node) {
  const auto [other, isNew] = layers.emplace(layer, node);
  if (isNew) return;
  throw std::invalid_argument("sparq.PagedAttention nodes \"" + other->second + "\" and \"" + node + "\" both have layer " +
                              std::to_string(layer));
}

Operators::Operators(StepContext& context)
    : domain_(ort::make<ort::CustomOpDomainOwner>(ort::createCustomOpDomain, "sparq")) {
  operators_ = {Operator{lifeCycle<PagedAttention>(), &context}, Operator{lifeCycle<SwiGlu>(), &context},
                Operator{lifeCycle<SplitActivations>(), &context}, Operator{lifeCycle<JoinProducts>(), &context}};
  auto& [attention, swiGlu, split, join] = operators_;
  attention.getName = [](const ort::CustomOp*) { return "PagedAttention"; };
  attention.getInputTypeCount = [](const ort::CustomOp*) { return size_t{4}; };
  attention.getInputCharacteristic = [](const ort::CustomOp*, size_t index) {
    return index == 3 ? ort::kOptional : ort::kRequired;
  };
  swiGlu.getName = [](const ort::CustomOp*) { return "SwiGLU"; };
  swiGlu.getInputTypeCount = [](const ort::CustomOp*) { return size_t{1}; };
  split.getName = [](const ort::CustomOp*) { return "SplitActivations"; };
  split.getInputTypeCount = [](const ort::CustomOp*) { return size_t{1}; };
  split.getOutputTypeCount = [](const ort::CustomOp*) { return size_t{2}; };
  join.getName = [](const ort::CustomOp*) { return "JoinProducts"; };
  join.getInputTypeCount = [](const ort::CustomOp*) { return size_t{3}; };
  join.getInputCharacteristic = [](const ort::CustomOp*, size_t index) {
    return index > 0 ? ort::kOptional : ort::kRequired;
  };
  for (const Operator& op : operators_) check(ort::customOpDomainAdd(domain_.get(), &op));
}

}  // namespace sparq
