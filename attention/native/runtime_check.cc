#include "runtime_check.h"

#include <bit>
#include <cmath>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "session.h"

namespace sparq {
namespace {

// A protobuf message as bytes, for the few fields of onnx.proto that the graph below needs.
class Message {
 public:
  Message& number(int field, uint64_t value) {
    varint(field << 3);
    varint(value);
    return *this;
  }
  Message& float32(int field, float value) {
    varint(field << 3 | 5);
    fixed32(std::bit_cast<uint32_t>(value));
    return *this;
  }
  Message& bytes(int field, const std::string& value) {
    varint(field << 3 | 2);
    varint(value.size());
    text_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return bytes(field, value.text_); }
  void fixed32(uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) text_ += static_cast<char>(value >> shift & 0xff);
  }
  const std::string& text() const { return text_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) text_ += static_cast<char>(value | 0x80);
    text_ += static_cast<char>(value);
  }
  std::string text_;
};

constexpr int kHeadDim = 8, kTokens = 4, kWidth = 3 * kHeadDim;
constexpr int kIntAttribute = 2, kFloatAttribute = 1;  // AttributeProto.AttributeType

Message intAttribute(const char* name, int64_t value) {
  return Message().bytes(1, name).number(3, value).number(20, kIntAttribute);
}

Message floatAttribute(const char* name, float value) {
  return Message().bytes(1, name).float32(2, value).number(20, kFloatAttribute);
}

Message node(const char* op, const char* domain, const std::vector<const char*>& inputs, const char* output,
             const std::vector<Message>& attributes) {
  Message node;
  for (const char* input : inputs) node.bytes(1, input);
  node.bytes(2, output).bytes(3, std::string("check ") + output).bytes(4, op).bytes(7, domain);
  for (const Message& attribute : attributes) node.message(5, attribute);
  return node;
}

Message tensor(const char* name, const std::vector<int>& shape, const std::vector<float>& values) {
  Message tensor, data;
  for (const int size : shape) tensor.number(1, size);
  for (const float value : values) data.fixed32(std::bit_cast<uint32_t>(value));
  return tensor.number(2, ort::kFloat).bytes(8, name).bytes(9, data.text());
}

// Dimensions below 0 are left unknown.
Message port(const char* name, ort::ElementType type, const std::vector<int>& shape) {
  Message dimensions;
  for (const int size : shape) dimensions.message(1, size < 0 ? Message() : Message().number(1, size));
  const Message tensorType = Message().number(1, type).message(2, dimensions);
  return Message().bytes(1, name).message(2, Message().message(1, tensorType));
}

// A token's query, key and value side by side.
std::vector<float> embeddings() {
  std::vector<float> values(kTokens * kWidth);
  for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>((i * 37 + 11) % 23) / 8 - 1;
  return values;
}

// input_ids -> embedding -> PagedAttention -> rows asked for = logits.
std::string graph() {
  const std::vector<Message> attributes = {
      intAttribute("layer", 0),       intAttribute("num_heads", 1),          intAttribute("num_kv_heads", 1),
      intAttribute("window", 0),      intAttribute("head_dim", kHeadDim),    intAttribute("rotary_dim", kHeadDim),
      intAttribute("q_offset", 0),    intAttribute("q_head_stride", 0),      intAttribute("rope_interleaved", 0),
      intAttribute("k_head_stride", 0), intAttribute("k_offset", kHeadDim),  intAttribute("v_offset", 2 * kHeadDim),
      intAttribute("v_head_stride", 0), floatAttribute("scale", 0.5f),       floatAttribute("rope_scale", 1.0f)};
  Message graph;
  graph.message(1, node("Gather", "", {"embedding", "input_ids"}, "qkv", {}))
      .message(1, node("PagedAttention", "sparq", {"qkv", "qkv", "qkv", "frequencies"}, "attended", attributes))
      .message(1, node("Gather", "", {"attended", "logit_rows"}, "logits", {intAttribute("axis", 1)}))
      .bytes(2, "check")
      .message(5, tensor("embedding", {kTokens, kWidth}, embeddings()))
      .message(5, tensor("frequencies", {kHeadDim / 2}, {1, 0.5f, 0.25f, 0.125f}))
      .message(11, port("input_ids", ort::kInt64, {1, -1}))
      .message(11, port("logit_rows", ort::kInt64, {-1}))
      .message(12, port("logits", ort::kFloat, {1, -1, kHeadDim}));
  return Message()
      .number(1, 8)  // IR version
      .message(8, Message().bytes(1, "").number(2, 13))
      .message(8, Message().bytes(1, "sparq").number(2, 1))
      .message(7, graph)
      .text();
}

void require(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

// Two equal tokens: whatever the scores, each row's result is their common value.
void run(const ort::Runtime& runtime) {
  auto store = std::make_shared<KvStore>(StoreShape{.layers = 1, .kvHeads = 1, .headDim = kHeadDim, .blockSize = 64, .blocks = 1});
  constexpr int32_t token = 2;
  const auto session = Session::fromBytes(runtime, store, graph(), {.vocabSize = kHeadDim, .threads = 1, .spinning = false});
  const StepInput input{.batch = {.rowStarts = {0, 2},
                                  .contextLengths = {0},
                                  .blockTables = {0},
                                  .blockTableStarts = {0, 1},
                                  .settings = {0, kHeadDim, 1, 0, 0, 0, 2, 0, 0, 0}},
                        .tokenIds = {token, token},
                        .logitRows = {0, 1}};
  const StepOutput output = session->step(input);
  require(output.logitCount == 2 * kHeadDim, "the number of logits");
  const std::vector<float> table = embeddings();
  for (size_t i = 0; i < output.logitCount; i++) {
    const float value = table[token * kWidth + 2 * kHeadDim + i % kHeadDim];
    require(std::abs(output.logits[i] - value) < 1e-6f, "attention over two equal tokens is not their value");
  }
}

}  // namespace

void checkRuntime(const ort::Runtime& runtime) {
  static std::once_flag once;
  try {
    std::call_once(once, run, runtime);
  } catch (const std::exception& error) {
    throw std::runtime_error("ONNX Runtime " + runtime.version() + " fails the self-test: " + error.what());
  }
}

}  // namespace sparq
