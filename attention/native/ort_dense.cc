#include "ort_dense.h"

#include "dense_linear.h"
#include "ort_kernel.h"
#include "ort_ops.h"

namespace sparq {

using ort::check;

namespace {

constexpr size_t kWeights = 1, kBias = 2;  // inputs

DenseShape shapeFrom(const Attributes& attributes) {
  constexpr int64_t kMost = INT32_MAX;
  return {attributes.integer("K", 1, kMost), attributes.integer("N", 1, kMost),
          static_cast<DType>(attributes.integer("dtype", 0, 2))};
}

// The weights where ONNX Runtime has them: mapped from the file when they are outside the graph.
const void* weightsOf(const ort::KernelInfo* info, const Attributes& attributes, const DenseShape& shape) {
  int isConstant = 0;
  const ort::Value* value = nullptr;
  check(ort::kernelInfoGetConstantInput(info, kWeights, &isConstant, &value));
  if (!isConstant || value == nullptr) attributes.fail("the weights, input 1, must be a constant initializer");
  if (ort::shapeOf(value) != std::vector<int64_t>{shape.bytes()}) {
    attributes.fail("the weights have shape " + ort::shapeText(ort::shapeOf(value)) + ", must be [" +
                    std::to_string(shape.bytes()) + "]");
  }
  return dataOf(value);
}

}  // namespace

struct DenseLinear {
  DenseLinear(const ort::CustomOp* op, const ort::KernelInfo* info)
      : DenseLinear(*static_cast<const Operators::Operator*>(op)->context, info, Attributes("DenseLinear", info)) {}

  DenseLinear(StepContext& context, const ort::KernelInfo* info, const Attributes& attributes)
      : context(context), node(attributes.node()), shape(shapeFrom(attributes)), weights(weightsOf(info, attributes, shape)) {}

  [[noreturn]] void fail(const char* what, const std::vector<int64_t>& actual, int64_t width) const {
    throw std::invalid_argument("sparq.DenseLinear node \"" + node + "\": " + what + " has shape " + ort::shapeText(actual) +
                                ", its last dimension must be " + std::to_string(width));
  }

  void compute(ort::KernelContext* kernelContext) const {
    const Input input = inputOf(kernelContext, 0);
    if (input.shape.empty() || input.width() != shape.inputs) fail("the input", input.shape, shape.inputs);
    size_t inputs = 0;
    check(ort::kernelContextGetInputCount(kernelContext, &inputs));
    const float* bias = nullptr;
    if (inputs > kBias) {
      const Input values = inputOf(kernelContext, kBias);
      if (values.shape != std::vector<int64_t>{shape.outputs}) fail("the bias", values.shape, shape.outputs);
      bias = values.data;
    }
    std::vector<int64_t> outShape = input.shape;
    outShape.back() = shape.outputs;
    float* out = outputOf(kernelContext, outShape);
    const LinearClock clock(context);
    denseLinear(context.path, shape, weights, bias, input.data, out, input.rows(), poolOf(kernelContext, context.threads));
  }

  StepContext& context;
  const std::string node;
  const DenseShape shape;
  const void* const weights;
};

struct DenseEmbedding {
  DenseEmbedding(const ort::CustomOp*, const ort::KernelInfo* info) : DenseEmbedding(info, Attributes("DenseEmbedding", info)) {}

  DenseEmbedding(const ort::KernelInfo* info, const Attributes& attributes)
      : shape(shapeFrom(attributes)), table(weightsOf(info, attributes, shape)) {}

  void compute(ort::KernelContext* kernelContext) const {
    const Input ids = inputOf(kernelContext, 0);
    int64_t count = 1;
    for (const int64_t size : ids.shape) count *= size;
    std::vector<int64_t> outShape = ids.shape;
    outShape.push_back(shape.inputs);
    denseEmbedding(shape, table, reinterpret_cast<const int64_t*>(ids.data), outputOf(kernelContext, outShape), count);
  }

  const DenseShape shape;
  const void* const table;
};

ort::CustomOp denseLinearOperator() {
  ort::CustomOp op = lifeCycle<DenseLinear>();
  op.getName = [](const ort::CustomOp*) { return "DenseLinear"; };
  op.getInputTypeCount = [](const ort::CustomOp*) { return size_t{3}; };
  op.getInputType = [](const ort::CustomOp*, size_t index) { return index == kWeights ? ort::kUint8 : ort::kFloat; };
  op.getInputCharacteristic = [](const ort::CustomOp*, size_t index) {
    return index == kBias ? ort::kOptional : ort::kRequired;
  };
  return op;
}

ort::CustomOp denseEmbeddingOperator() {
  ort::CustomOp op = lifeCycle<DenseEmbedding>();
  op.getName = [](const ort::CustomOp*) { return "DenseEmbedding"; };
  op.getInputTypeCount = [](const ort::CustomOp*) { return size_t{2}; };
  op.getInputType = [](const ort::CustomOp*, size_t index) { return index == kWeights ? ort::kUint8 : ort::kInt64; };
  return op;
}

}  // namespace sparq
