#include "ort_linears.h"

#include "ort_kernel.h"
#include "ort_ops.h"
#include "qlinear.h"

namespace sparq {

using ort::check;

namespace {

constexpr size_t kWeights = 1, kBias = 2;  // inputs

LinearShape shapeFrom(const Attributes& attributes) {
  constexpr int64_t kMost = INT32_MAX;
  const LinearShape shape{attributes.integer("K", 1, kMost),
                          attributes.integer("N", 1, kMost),
                          attributes.integer("bits", 4, 8),
                          attributes.integer("block_size", 16, 32),
                          attributes.integer("half_scales", 0, 1) == 1,
                          attributes.integer("offsets", 0, 1) == 1};
  try {
    checkShape(shape);
  } catch (const std::invalid_argument& error) {
    attributes.fail(error.what());
  }
  return shape;
}

// The packed weights where ONNX Runtime has them: mapped from the file when they are outside the graph.
const uint8_t* weightsOf(const ort::KernelInfo* info, const Attributes& attributes, const LinearShape& shape) {
  int isConstant = 0;
  const ort::Value* value = nullptr;
  check(ort::kernelInfoGetConstantInput(info, kWeights, &isConstant, &value));
  if (!isConstant || value == nullptr) attributes.fail("the weights, input 1, must be a constant initializer");
  if (ort::shapeOf(value) != std::vector<int64_t>{shape.bytes()}) {
    attributes.fail("the weights have shape " + ort::shapeText(ort::shapeOf(value)) + ", must be [" +
                    std::to_string(shape.bytes()) + "]");
  }
  return reinterpret_cast<const uint8_t*>(dataOf(value));
}

}  // namespace

struct QLinear {
  QLinear(const ort::CustomOp* op, const ort::KernelInfo* info)
      : QLinear(*static_cast<const Operators::Operator*>(op)->context, info, Attributes("QLinear", info)) {}

  QLinear(StepContext& context, const ort::KernelInfo* info, const Attributes& attributes)
      : context(context), node(attributes.node()), shape(shapeFrom(attributes)),
        activations(static_cast<Activations>(attributes.integer("planes", 1, 2))),
        weights(weightsOf(info, attributes, shape)) {}

  [[noreturn]] void fail(const char* what, const std::vector<int64_t>& actual, int64_t width) const {
    throw std::invalid_argument("sparq.QLinear node \"" + node + "\": " + what + " has shape " + ort::shapeText(actual) +
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
    qlinear(context.path, shape, weights, bias, activations, input.data, out, input.rows(), poolOf(kernelContext, context.threads));
  }

  StepContext& context;
  const std::string node;
  const LinearShape shape;
  const Activations activations;
  const uint8_t* const weights;
};

struct QEmbedding {
  QEmbedding(const ort::CustomOp*, const ort::KernelInfo* info) : QEmbedding(info, Attributes("QEmbedding", info)) {}

  QEmbedding(const ort::KernelInfo* info, const Attributes& attributes)
      : shape(shapeFrom(attributes)), weights(weightsOf(info, attributes, shape)) {}

  void compute(ort::KernelContext* kernelContext) const {
    const Input ids = inputOf(kernelContext, 0);
    int64_t count = 1;
    for (const int64_t size : ids.shape) count *= size;
    std::vector<int64_t> outShape = ids.shape;
    outShape.push_back(shape.inputs);
    qembedding(shape, weights, reinterpret_cast<const int64_t*>(ids.data), outputOf(kernelContext, outShape), count);
  }

  const LinearShape shape;
  const uint8_t* const weights;
};

ort::CustomOp qlinearOperator() {
  ort::CustomOp op = lifeCycle<QLinear>();
  op.getName = [](const ort::CustomOp*) { return "QLinear"; };
  op.getInputTypeCount = [](const ort::CustomOp*) { return size_t{3}; };
  op.getInputType = [](const ort::CustomOp*, size_t index) { return index == kWeights ? ort::kUint8 : ort::kFloat; };
  op.getInputCharacteristic = [](const ort::CustomOp*, size_t index) {
    return index == kBias ? ort::kOptional : ort::kRequired;
  };
  return op;
}

ort::CustomOp qembeddingOperator() {
  ort::CustomOp op = lifeCycle<QEmbedding>();
  op.getName = [](const ort::CustomOp*) { return "QEmbedding"; };
  op.getInputTypeCount = [](const ort::CustomOp*) { return size_t{2}; };
  op.getInputType = [](const ort::CustomOp*, size_t index) { return index == kWeights ? ort::kUint8 : ort::kInt64; };
  return op;
}

}  // namespace sparq
