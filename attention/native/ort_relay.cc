#include "ort_relay.h"

#include <algorithm>
#include <cstring>

#include "ort_kernel.h"
#include "ort_ops.h"

namespace sparq {
namespace {

// Rows of a task: many threads are worth it for a prompt only.
constexpr int64_t kRowsOfTask = 32;

}  // namespace

struct Relay {
  Relay(const ort::CustomOp* op, const ort::KernelInfo* info)
      : Relay(*static_cast<const Operators::Operator*>(op)->context, Attributes("Relay", info)) {}

  Relay(StepContext& context, Attributes attributes)
      : context(context), node(attributes.node()),
        layer(attributes.integer("layer", 1, std::max(1, context.store.shape().layers - 1))),
        width(attributes.integer("hidden_size", 1, INT32_MAX)) {
    context.claimRelay(layer, width, node);
  }

  // Rows of the step that come out of the layer before.
  const float* dataOf(const Input& input, const char* name) const {
    if (input.shape.size() < 2 || input.width() != width || input.rows() != context.rowsAt(layer - 1)) {
      throw std::invalid_argument("sparq.Relay node \"" + node + "\" (layer " + std::to_string(layer) + "): " + name +
                                  " has shape " + ort::shapeText(input.shape) + " in a step of " +
                                  std::to_string(context.rowsAt(layer - 1)) + " rows of " + std::to_string(width));
    }
    return input.data;
  }

  void compute(ort::KernelContext* kernelContext) const {
    const Input first = inputOf(kernelContext, 0);
    const float* x = dataOf(first, "x");
    const float* addend = dataOf(inputOf(kernelContext, 1), "addend");
    const Tail& tail = context.tail;
    const int64_t before = context.rowsAt(layer - 1), after = context.rowsAt(layer), kept = std::min(before, after);
    float* out = outputOf(kernelContext, {1, after, width});
    add(kernelContext, x, addend, out, kept);
    if (before > kept) add(kernelContext, x + kept * width, addend + kept * width, context.parked, before - kept);
    if (after > kept) std::memcpy(out + kept * width, tail.hidden.data(), tail.hidden.size() * sizeof(float));
  }

  void add(ort::KernelContext* kernelContext, const float* x, const float* addend, float* out, int64_t rows) const {
    struct Sum {
      const float *x, *addend;
      float* out;
      int64_t size, sizeOfTask;
    } sum{x, addend, out, rows * width, kRowsOfTask * width};
    const auto task = [](void* user, size_t i) {
      const Sum& sum = *static_cast<const Sum*>(user);
      const int64_t end = std::min(sum.size, int64_t(i + 1) * sum.sizeOfTask);
      for (int64_t at = int64_t(i) * sum.sizeOfTask; at < end; at++) sum.out[at] = sum.x[at] + sum.addend[at];
    };
    const size_t tasks = (rows + kRowsOfTask - 1) / kRowsOfTask;
    if (tasks == 1) return task(&sum, 0);
    const Pool pool = poolOf(kernelContext, context.threads);
    if (tasks > 1) pool.run(pool.context, tasks, task, &sum);
  }

  StepContext& context;
  const std::string node;
  const int32_t layer;
  const int64_t width;
};

ort::CustomOp relayOperator() {
  ort::CustomOp op = lifeCycle<Relay>();
  op.getName = [](const ort::CustomOp*) { return "Relay"; };
  op.getInputTypeCount = [](const ort::CustomOp*) { return size_t{2}; };
  return op;
}

}  // namespace sparq
