// The operators over constant weights, however these are kept: linears and embeddings. See ort_ops.h for what they take.
//
// `Weights` is made of (context, info, attributes) and has: kLinear and kEmbedding, the operators' names; shape, with inputs, outputs and bytes();
// linear(path, bias, input, out, rows, pool) and embedding(ids, out, count).
#pragma once
#include <string>
#include <vector>

#include "ort_kernel.h"
#include "ort_ops.h"

namespace sparq {

constexpr size_t kWeightsInput = 1, kBiasInput = 2;

// The weights where ONNX Runtime has them: mapped from the file when they are outside the graph.
inline const void* constantWeights(const ort::KernelInfo* info, const Attributes& attributes, int64_t bytes) {
  int isConstant = 0;
  const ort::Value* value = nullptr;
  ort::check(ort::kernelInfoGetConstantInput(info, kWeightsInput, &isConstant, &value));
  if (!isConstant || value == nullptr) attributes.fail("the weights, input 1, must be a constant initializer");
  if (ort::shapeOf(value) != std::vector<int64_t>{bytes}) {
    attributes.fail("the weights have shape " + ort::shapeText(ort::shapeOf(value)) + ", must be [" + std::to_string(bytes) + "]");
  }
  return dataOf(value);
}

template <typename Weights>
struct LinearOperator {
  LinearOperator(const ort::CustomOp* op, const ort::KernelInfo* info)
      : LinearOperator(*static_cast<const Operators::Operator*>(op)->context, info, Attributes(Weights::kLinear, info)) {}

  LinearOperator(StepContext& context, const ort::KernelInfo* info, const Attributes& attributes)
      : context(context), node(attributes.node()), weights(context, info, attributes) {}

  [[noreturn]] void fail(const char* what, const std::vector<int64_t>& actual, int64_t width) const {
    throw std::invalid_argument(std::string("sparq.") + Weights::kLinear + " node \"" + node + "\": " + what + " has shape " +
                                ort::shapeText(actual) + ", its last dimension must be " + std::to_string(width));
  }

  void compute(ort::KernelContext* kernelContext) const {
    const auto& shape = weights.shape;
    const Input input = inputOf(kernelContext, 0);
    if (input.shape.empty() || input.width() != shape.inputs) fail("the input", input.shape, shape.inputs);
    size_t inputs = 0;
    ort::check(ort::kernelContextGetInputCount(kernelContext, &inputs));
    const float* bias = nullptr;
    if (inputs > kBiasInput) {
      const Input values = inputOf(kernelContext, kBiasInput);
      if (values.shape != std::vector<int64_t>{shape.outputs}) fail("the bias", values.shape, shape.outputs);
      bias = values.data;
    }
    std::vector<int64_t> outShape = input.shape;
    outShape.back() = shape.outputs;
    float* out = outputOf(kernelContext, outShape);
    const LinearClock clock(context);
    weights.linear(context.path, bias, input.data, out, input.rows(), poolOf(kernelContext, context.threads));
  }

  StepContext& context;
  const std::string node;
  const Weights weights;
};

template <typename Weights>
struct EmbeddingOperator {
  EmbeddingOperator(const ort::CustomOp* op, const ort::KernelInfo* info)
      : weights(*static_cast<const Operators::Operator*>(op)->context, info, Attributes(Weights::kEmbedding, info)) {}

  void compute(ort::KernelContext* kernelContext) const {
    const Input ids = inputOf(kernelContext, 0);
    int64_t count = 1;
    for (const int64_t size : ids.shape) count *= size;
    std::vector<int64_t> outShape = ids.shape;
    outShape.push_back(weights.shape.inputs);
    weights.embedding(reinterpret_cast<const int64_t*>(ids.data), outputOf(kernelContext, outShape), count);
  }

  const Weights weights;
};

template <typename Weights>
ort::CustomOp linearOperator() {
  ort::CustomOp op = lifeCycle<LinearOperator<Weights>>();
  op.getName = [](const ort::CustomOp*) { return Weights::kLinear; };
  op.getInputTypeCount = [](const ort::CustomOp*) { return size_t{3}; };
  op.getInputType = [](const ort::CustomOp*, size_t index) { return index == kWeightsInput ? ort::kUint8 : ort::kFloat; };
  op.getInputCharacteristic = [](const ort::CustomOp*, size_t index) {
    return index == 0 ? ort::kRequired : ort::kOptional;
  };
  return op;
}

template <typename Weights>
ort::CustomOp embeddingOperator() {
  ort::CustomOp op = lifeCycle<EmbeddingOperator<Weights>>();
  op.getName = [](const ort::CustomOp*) { return Weights::kEmbedding; };
  op.getInputTypeCount = [](const ort::CustomOp*) { return size_t{2}; };
  op.getInputType = [](const ort::CustomOp*, size_t index) { return index == kWeightsInput ? ort::kUint8 : ort::kInt64; };
  op.getInputCharacteristic = [](const ort::CustomOp*, size_t index) { return index == 0 ? ort::kRequired : ort::kOptional; };
  return op;
}

}  // namespace sparq
