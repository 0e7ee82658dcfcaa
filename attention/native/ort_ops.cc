#include "ort_ops.h"

#include <chrono>

#include "ort_dense.h"
#include "ort_kernel.h"
#include "ort_linears.h"
#include "ort_relay.h"
#include "quantised_linear.h"
#include "rope.h"
#include "step_input.h"
#include "swiglu.h"

namespace sparq {

using ort::check;

namespace {

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

}  // namespace

struct PagedAttention {
  PagedAttention(const ort::CustomOp* op, const ort::KernelInfo* info)
      : PagedAttention(*static_cast<const Operators::Operator*>(op)->context, info, Attributes("PagedAttention", info)) {}

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
    const int32_t rows = context.rowsAt(params.layer);
    if (input.shape.size() < 2 || input.rows() != rows) {
      fail(std::string(heads.name) + " has shape " + ort::shapeText(input.shape) + " in a step of " + std::to_string(rows) +
           " rows");
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
    const Step step{context.sequences.data(), context.sequencesAt(params.layer), context.rowsAt(params.layer),
                    rope ? context.cosSin(*rope) : nullptr};
    const auto started = std::chrono::steady_clock::now();
    attendLayer(context.path, context.store, params, step, qProjection, kProjection, vProjection, out,
                poolOf(kernelContext, context.threads), &context.traffic,
                {context.observe ? &context.observations[params.layer] : nullptr, context.fault,
                 context.timed ? &context.phaseTimes : nullptr});
    context.attentionSeconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
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

void StepContext::begin(std::vector<Sequence> newSequences, int32_t newRows, Tail newTail, float* newParked, bool newTimed) {
  sequences = std::move(newSequences);
  rows = newRows;
  tail = std::move(newTail);
  wholeRows_ = tail.present() ? sequences[tail.firstSequence].rowStart : rows;
  parked = newParked;
  traffic = {};
  timed = newTimed;
  attentionSeconds = linearSeconds = 0;
  phaseTimes = {};
  for (auto& table : ropeTables_) table->filled = false;
}

Traffic StepContext::end() {
  sequences.clear();
  rows = wholeRows_ = 0;
  tail = {};
  parked = nullptr;
  return traffic;
}

const MappedFile& StepContext::file(const std::string& path, int64_t bytes, int64_t modified) {
  for (const auto& file : files_) {
    if (file->path() == path) return *file;
  }
  files_.push_back(std::make_unique<MappedFile>(path, bytes, modified));
  return *files_.back();
}

void StepContext::checkFiles() const {
  for (const auto& file : files_) file->checkUnchanged();
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

void StepContext::claimLayer(int32_t layer, const std::string& node) { claim("PagedAttention", layers, layer, node); }

void StepContext::claimRelay(int32_t layer, int64_t width, const std::string& node) {
  claim("Relay", relays, layer, node);
  if (relayWidth != 0 && width != relayWidth) {
    throw std::invalid_argument("sparq.Relay node \"" + node + "\" (layer " + std::to_string(layer) + ") has hidden_size " +
                                std::to_string(width) + ", others have " + std::to_string(relayWidth));
  }
  relayWidth = width;
}

void StepContext::claim(const char* op, std::map<int32_t, std::string>& nodes, int32_t layer, const std::string& node) {
  const auto [other, isNew] = nodes.emplace(layer, node);
  if (isNew) return;
  throw std::invalid_argument(std::string("sparq.") + op + " nodes \"" + other->second + "\" and \"" + node +
                              "\" both have layer " + std::to_string(layer));
}

Operators::Operators(StepContext& context)
    : domain_(ort::make<ort::CustomOpDomainOwner>(ort::createCustomOpDomain, "sparq")) {
  operators_ = {Operator{lifeCycle<PagedAttention>(), &context}, Operator{lifeCycle<SwiGlu>(), &context},
                Operator{lifeCycle<SplitActivations>(), &context}, Operator{lifeCycle<JoinProducts>(), &context},
                Operator{qlinearOperator(), &context},             Operator{qembeddingOperator(), &context},
                Operator{relayOperator(), &context},       Operator{denseLinearOperator(), &context},
                Operator{denseEmbeddingOperator(), &context}};
  auto& attention = operators_[0];
  auto& swiGlu = operators_[1];
  auto& split = operators_[2];
  auto& join = operators_[3];
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
