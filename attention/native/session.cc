#include "session.h"

#include "mass.h"

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <stdexcept>
#include <utility>

namespace sparq {

using ort::check;

namespace {

constexpr size_t kAlignment = 64;
// Logits that a session keeps memory for between steps.
constexpr size_t kMostSpare = size_t{1} << 24;

void requireReadable(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  // Opening a folder succeeds on Linux, and reading from it does not.
  if (file.peek() == std::ifstream::traits_type::eof()) {
    throw std::runtime_error("graph " + path + ": " + (errno != 0 ? std::strerror(errno) : "the file is empty"));
  }
}

struct Port {
  std::string name;
  ort::ElementType type{};
  std::vector<int64_t> shape;
};

template <typename Count, typename Name, typename Type>
std::vector<Port> portsOf(const ort::Session* session, Count getCount, Name getName, Type getTypeInfo) {
  ort::Allocator* allocator = nullptr;
  check(ort::getDefaultAllocator(&allocator));
  size_t count = 0;
  check(getCount(session, &count));
  std::vector<Port> ports(count);
  for (size_t i = 0; i < count; i++) {
    char* name = nullptr;
    check(getName(session, i, allocator, &name));
    ports[i].name = name;
    check(ort::allocatorFree(allocator, name));
    const auto info = ort::make<ort::TypeInfoOwner>(getTypeInfo, session, i);
    const ort::TensorInfo* tensor = nullptr;
    check(ort::castTypeInfoToTensorInfo(info.get(), &tensor));
    if (tensor == nullptr) continue;
    check(ort::getTensorElementType(tensor, &ports[i].type));
    ports[i].shape = ort::shapeOf(tensor);
  }
  return ports;
}

std::string listOf(const std::vector<Port>& ports) {
  std::string text;
  for (const Port& port : ports) text += (text.empty() ? "" : ", ") + port.name + " " + ort::shapeText(port.shape);
  return text.empty() ? "none" : text;
}

bool isPort(const Port& port, const char* name, ort::ElementType type, size_t rank) {
  return port.name == name && port.type == type && port.shape.size() == rank;
}

ort::ValueOwner tensorOf(const ort::MemoryInfo* memory, const void* data, size_t bytes, const std::vector<int64_t>& shape,
                         ort::ElementType type) {
  return ort::make<ort::ValueOwner>(ort::createTensorWithData, memory, const_cast<void*>(data), bytes, shape.data(),
                                    shape.size(), type);
}

}  // namespace

void FloatsDeleter::operator()(float* data) const { std::free(data); }

Floats allocateFloats(size_t size) {
  if (size > (SIZE_MAX - kAlignment) / sizeof(float)) throw std::bad_alloc();
  // One element more than none, so that an empty tensor has an address too.
  const size_t bytes = (std::max<size_t>(size, 1) * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, bytes);
  if (data == nullptr) throw std::bad_alloc();
  return Floats(static_cast<float*>(data));
}

Session::Session(const ort::Runtime& runtime, std::shared_ptr<KvStore> store, const SessionConfig& config)
    : store_(std::move(store)),
      config_(config),
      runtimeVersion_(runtime.version()),
      context_(*store_, defaultPath(), config.threads, config.observe, config.fault),
      operators_(context_),
      memory_(ort::make<ort::MemoryInfoOwner>(ort::createCpuMemoryInfo, ort::kDeviceAllocator, ort::kDefaultMemory)) {}

std::unique_ptr<Session> Session::fromFile(const ort::Runtime& runtime, std::shared_ptr<KvStore> store,
                                           const std::string& path, const SessionConfig& config) {
  requireReadable(path);
  std::unique_ptr<Session> session(new Session(runtime, std::move(store), config));
  try {
    session->session_ = ort::make<ort::SessionOwner>(ort::createSession, runtime.environment(), path.c_str(),
                                                     session->makeOptions().get());
    session->checkGraph();
  } catch (const std::exception& error) {
    throw std::runtime_error("graph " + path + ": " + error.what());
  }
  return session;
}

std::unique_ptr<Session> Session::fromBytes(const ort::Runtime& runtime, std::shared_ptr<KvStore> store,
                                            const std::string& graph, const SessionConfig& config) {
  std::unique_ptr<Session> session(new Session(runtime, std::move(store), config));
  session->session_ = ort::make<ort::SessionOwner>(ort::createSessionFromArray, runtime.environment(), graph.data(),
                                                   graph.size(), session->makeOptions().get());
  session->checkGraph();
  return session;
}

ort::SessionOptionsOwner Session::makeOptions() const {
  auto options = ort::make<ort::SessionOptionsOwner>(ort::createSessionOptions);
  check(ort::setGraphOptimizationLevel(options.get(), ort::kOptimizeAll));
  check(ort::setSessionLogSeverityLevel(options.get(), ort::kLogFatal));
  check(ort::setIntraOpNumThreads(options.get(), config_.threads));
  check(ort::setInterOpNumThreads(options.get(), 1));
  // A pattern would be kept for every combination of T and R that ever ran.
  check(ort::disableMemPattern(options.get()));
  check(ort::addSessionConfigEntry(options.get(), "session.intra_op.allow_spinning", config_.spinning ? "1" : "0"));
  // Spin between the operators of a step, and leave the cores alone between steps.
  check(ort::addSessionConfigEntry(options.get(), "session.force_spinning_stop", "1"));
  check(ort::addCustomOpDomain(options.get(), operators_.domain()));
  return options;
}

void Session::checkGraph() {
  const auto inputs = portsOf(session_.get(), ort::sessionGetInputCount, ort::sessionGetInputName, ort::sessionGetInputTypeInfo);
  const auto outputs =
      portsOf(session_.get(), ort::sessionGetOutputCount, ort::sessionGetOutputName, ort::sessionGetOutputTypeInfo);
  bool ids = false, rows = false;
  for (const Port& input : inputs) {
    ids = ids || isPort(input, "input_ids", ort::kInt64, 2);
    rows = rows || isPort(input, "logit_rows", ort::kInt64, 1);
  }
  if (inputs.size() != 2 || !ids || !rows) {
    throw std::runtime_error("its inputs are " + listOf(inputs) +
                             "; must be input_ids, int64 [1, T], and logit_rows, int64 [R]");
  }
  if (outputs.size() != 1 || !isPort(outputs[0], "logits", ort::kFloat, 3)) {
    throw std::runtime_error("its outputs are " + listOf(outputs) + "; must be logits, float [1, R, vocabulary]");
  }
  const int64_t vocabulary = outputs[0].shape[2];
  if (vocabulary >= 0 && vocabulary != config_.vocabSize) {
    throw std::runtime_error("it gives logits of " + std::to_string(vocabulary) + " tokens, the vocabulary has " +
                             std::to_string(config_.vocabSize));
  }
  if (layers() != store_->shape().layers) {
    throw std::runtime_error("it has sparq.PagedAttention nodes for " + std::to_string(layers()) +
                             " layers, the KV store is made for " + std::to_string(store_->shape().layers));
  }
  const int relays = static_cast<int>(context_.relays.size());
  if (relays != 0 && relays != layers() - 1) {
    throw std::runtime_error("it has sparq.Relay nodes for " + std::to_string(relays) + " of its " + std::to_string(layers()) +
                             " layers, must have them for all but the first, or none");
  }
  binding_ = ort::make<ort::IoBindingOwner>(ort::createIoBinding, session_.get());
}

void Session::checkInput(const StepInput& input) const {
  checkStep(input, store_->shape(), config_.vocabSize, relayWidth());
  if (store_->masses() == nullptr) return;
  std::vector<Sequence> sequences = input.batch.sequences();
  if (input.tail.present()) {
    store_->masses()->check({sequences.begin() + input.tail.firstSequence, sequences.end()}, input.tail.beginLayer);
    sequences.resize(input.tail.firstSequence);
  }
  store_->masses()->check(sequences);
}

StepOutput Session::step(const StepInput& input) {
  const auto started = std::chrono::steady_clock::now();
  checkInput(input);
  const Tail& tail = input.tail;
  const int32_t rowCountOfWhole = tail.present() ? input.batch.rowStarts[tail.firstSequence] : input.batch.rowCount();
  const int32_t embedded = tail.beginLayer > 0 ? rowCountOfWhole : input.batch.rowCount();
  const std::vector<int64_t> ids(input.tokenIds.begin(), input.tokenIds.begin() + embedded);
  const std::vector<int64_t> rows(input.logitRows.begin(), input.logitRows.end());
  const auto rowCount = static_cast<int64_t>(rows.size());
  StepOutput output;
  const size_t logitCount = rows.size() * config_.vocabSize;
  const bool fits = spareLogits_ != nullptr && logitCount <= spareCount_;
  const size_t capacity = fits ? spareCount_ : logitCount;
  Floats logits = fits ? std::move(spareLogits_) : allocateFloats(logitCount);

  const auto idsTensor = tensorOf(memory_.get(), ids.data(), ids.size() * sizeof(int64_t),
                                  {1, static_cast<int64_t>(ids.size())}, ort::kInt64);
  const auto rowsTensor = tensorOf(memory_.get(), rows.data(), rows.size() * sizeof(int64_t), {rowCount}, ort::kInt64);
  const auto logitsTensor = tensorOf(memory_.get(), logits.get(), logitCount * sizeof(float),
                                     {1, rowCount, config_.vocabSize}, ort::kFloat);
  check(ort::bindInput(binding_.get(), "input_ids", idsTensor.get()));
  check(ort::bindInput(binding_.get(), "logit_rows", rowsTensor.get()));
  check(ort::bindOutput(binding_.get(), "logits", logitsTensor.get()));
  if (tail.present() && tail.endLayer < store_->shape().layers) {
    output.hiddenCount = size_t(input.batch.rowCount() - rowCountOfWhole) * relayWidth();
    output.hidden = allocateFloats(output.hiddenCount);
  }
  context_.begin(input.batch.sequences(), input.batch.rowCount(), tail, output.hidden.get(), input.timed);
  ort::Status* status = ort::runWithBinding(session_.get(), nullptr, binding_.get());
  // The binding must not keep looking at this step's memory.
  ort::clearBoundInputs(binding_.get());
  ort::clearBoundOutputs(binding_.get());
  output.traffic = context_.end();
  output.attentionSeconds = context_.attentionSeconds;
  output.linearSeconds = context_.linearSeconds;
  output.phaseTimes = context_.phaseTimes;
  check(status);
  checkFiles();
  const auto computed = std::chrono::steady_clock::now();
  output.sampled = sample(input.sampling, logits.get());
  const auto ended = std::chrono::steady_clock::now();
  output.samplingSeconds = std::chrono::duration<double>(ended - computed).count();
  if (input.sampling.size() < rows.size()) {
    output.logits = std::move(logits);
    output.logitCount = logitCount;
  } else if (capacity <= kMostSpare) {
    spareLogits_ = std::move(logits);
    spareCount_ = capacity;
  }
  output.seconds = std::chrono::duration<double>(ended - started).count();
  return output;
}

SampledRows Session::sample(const SamplingInput& input, float* logits) {
  if (samplers_ == nullptr && input.size() > 1) samplers_ = std::make_unique<WorkerPool>(config_.threads);
  return sampleRows(context_.path, logits, config_.vocabSize, input, samplers_ == nullptr ? Pool{} : samplers_->pool());
}

}  // namespace sparq
