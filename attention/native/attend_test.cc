// Every kernel path against a reference in double: random shapes, ragged steps, shared pages, extreme numbers. Meant for
// the sanitizers (make test). Unwritten memory is filled with NaN, so that whatever a row must not see would show.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>

#include "test_reference.h"

using namespace sparq;
using reference::History;
using reference::Model;

namespace {

std::mt19937_64 randomness(20240607);
int checks = 0, failures = 0, compared = 0, nearTies = 0;
double worst = 0;

int uniform(int from, int to) { return from + static_cast<int>(randomness() % uint64_t(to - from + 1)); }
template <typename T>
T oneOf(std::initializer_list<T> items) { return items.begin()[uniform(0, int(items.size()) - 1)]; }

void check(bool holds, const std::string& what) {
  checks++;
  if (holds) return;
  failures++;
  if (failures <= 20) std::printf("FAILED: %s\n", what.c_str());
}

History randomHistory(const Model& model, int length, float magnitude) {
  std::normal_distribution<float> normal;
  const auto rows = [&](int width, float size) {
    std::vector<std::vector<float>> x(length, std::vector<float>(width));
    for (auto& row : x) {
      for (float& e : row) e = normal(randomness) * size;
    }
    return x;
  };
  const int d = model.params.headDim;
  History history{rows(model.params.heads * d, magnitude), rows(model.params.kvHeads * d, magnitude), rows(model.params.kvHeads * d, 1), {}, {}};
  reference::store(model, history);
  return history;
}

// A sequence as it grows: its pages, how far it is, and what came out for each position.
struct Run {
  const History* history;
  Settings settings;
  std::vector<int32_t> blocks;
  int done = 0;
  std::vector<std::vector<float>> out;
};

// Runs the next rowCounts[i] positions of runs[i], all in one step. With `appendOnly` they attend to nothing and put nothing out.
void step(Path path, KvStore& store, const Model& model, const std::vector<Run*>& runs, const std::vector<int>& rowCounts, int threads,
          bool appendOnly = false, Observation* observation = nullptr) {
  const auto& p = model.params;
  const int d = p.headDim, qWidth = p.heads * d, kvWidth = p.kvHeads * d, width = qWidth + 2 * kvWidth;
  std::vector<float> qkv, cosSin;
  std::vector<Sequence> sequences;
  int rows = 0;
  for (size_t s = 0; s < runs.size(); s++) {
    Run& run = *runs[s];
    for (int i = 0; i < rowCounts[s]; i++) {
      const int position = run.done + i;
      for (const auto* part : {&run.history->q[position], &run.history->k[position], &run.history->v[position]}) {
        qkv.insert(qkv.end(), part->begin(), part->end());
      }
      for (float f : model.inverseFrequencies) {
        cosSin.push_back(float(std::cos(double(position) * double(f))));
        cosSin.push_back(float(std::sin(double(position) * double(f))));
      }
    }
    sequences.push_back({rows, rowCounts[s], run.done, run.blocks.data(), int32_t(run.blocks.size()), run.settings});
    rows += rowCounts[s];
  }
  std::vector<float> out(size_t(rows) * qWidth, std::numeric_limits<float>::quiet_NaN());
  const auto projection = [&](ptrdiff_t offset) { return Projection{qkv.data(), width, offset, d}; };
  const Step all{sequences.data(), int32_t(sequences.size()), rows, p.rotaryDim ? cosSin.data() : nullptr};
  const Projection q = projection(0), k = projection(qWidth), v = projection(qWidth + kvWidth);
  Traffic traffic;
  // Every other step is timed, which must not change what comes out.
  static int steps = 0;
  PhaseTimes times;
  PhaseTimes* const timed = steps++ % 2 ? &times : nullptr;
  if (appendOnly) appendLayer(path, store, p, all, k, v, reference::threads(threads));
  else attendLayer(path, store, p, all, q, k, v, out.data(), reference::threads(threads), &traffic, {observation, KernelFault::None, timed});
  for (size_t s = 0, row = 0; s < runs.size(); s++) {
    for (int i = 0; i < rowCounts[s] && !appendOnly; i++, row++) runs[s]->out.emplace_back(&out[row * qWidth], &out[row * qWidth] + qWidth);
    runs[s]->done += rowCounts[s];
  }
}

StoreShape shapeOf(const Model& model, int layers, int blocks) {
  return {layers, model.params.kvHeads, model.params.headDim, model.blockSize, blocks, model.dtype, model.scanDtype};
}

std::vector<int32_t> shuffledBlocks(int count) {
  std::vector<int32_t> blocks(count);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), randomness);
  return blocks;
}

void poison(KvStore& store) { store.fill(std::numeric_limits<float>::quiet_NaN()); }

Model randomModel() {
  const int d = oneOf({16, 20, 32, 64, 72, 80, 96, 128}), kvHeads = uniform(1, 3), group = oneOf({1, 2, 3, 4, 8, 9});
  const int rotary = oneOf({0, d, d / 4 * 2});
  Model model{{uniform(0, 1), kvHeads * group, kvHeads, d, 1 / std::sqrt(float(d)), oneOf({0, 0, 1, 40, 100}), rotary, uniform(0, 1)}, {}};
  model.dtype = oneOf({DType::F32, DType::F32, DType::F16, DType::BF16, DType::I8, DType::F8});
  model.scanDtype = oneOf({DType::F32, DType::F16, DType::BF16, DType::I8, DType::I8});
  model.blockSize = model.scanDtype == DType::I8 ? oneOf({64, 128}) : oneOf({16, 64, 80});
  for (int i = 0; i < rotary / 2; i++) model.inverseFrequencies.push_back(float(std::pow(10000.0, -2.0 * i / rotary)));
  return model;
}

Settings randomSettings(const Model& model, int prompt) {
  const int k = oneOf({1, 2, 17, 48, 64}), local = uniform(0, k);
  return {uniform(0, 4) > 0, uniform(1, model.params.headDim), k, local, uniform(0, 1), uniform(0, 1), prompt, 0,
          0, uniform(0, 2) ? 0 : uniform(0, k - local)};
}

Settings ofAnyRank(Settings settings) {
  settings.rank = uniform(0, 4);
  if (settings.rank > static_cast<int32_t>(Rank::Exact)) settings.meanValue = 0;
  return settings;
}

// Rows of a prompt are multiplied in whole numbers of 16 bits here (body_prompt_vnni.inc): a logit is then off by some 1e-5 of the
// query's norm times the key's, as much as an f16 cache has rounded them by before.
bool inShorts(Path path, const Model& model) {
  return path == Path::Avx512Vnni && model.dtype != DType::F32 && model.dtype != DType::BF16;
}

void compare(Path path, const Model& model, const Run& run, const std::string& name) {
  const size_t heads = model.params.kvHeads;
  reference::Masses masses{std::vector<reference::Vector>(heads), std::vector<std::vector<int>>(heads), std::vector<reference::Vector>(heads)};
  for (int position = 0; position < run.done; position++) {
    const reference::Row row = reference::attend(model, run.settings, *run.history, position, &masses);
    double difference = 0;
    bool finite = true;
    for (size_t i = 0; i < row.out.size(); i++) {
      finite = finite && std::isfinite(run.out[position][i]);
      difference = std::max(difference, std::fabs(run.out[position][i] - row.out[i]));
    }
    check(finite, name + ": not finite at position " + std::to_string(position));
    // Where the choice hangs on a rounding error, float and double may rightly choose otherwise.
    if (row.margin < 1e-5) {
      nearTies++;
      continue;
    }
    compared++;
    worst = std::max(worst, difference);
    const double tolerance = inShorts(path, model) && position < run.settings.denseUntil ? 1e-3 : 1e-5;
    check(difference <= tolerance, name + ": differs by " + std::to_string(difference) + " at position " + std::to_string(position));
  }
}

bool same(const Run& a, const Run& b) {
  for (size_t i = 0; i < a.out.size(); i++) {
    if (std::memcmp(a.out[i].data(), b.out[i].data(), a.out[i].size() * sizeof(float)) != 0) return false;
  }
  return a.out.size() == b.out.size();
}

// Three sequences in ragged steps of random sizes, two threads; then each alone, in other chunks, on one thread. `ranks`: they rank
// positions in any way, and are observed on the way.
void randomSteps(Path path, int round, bool ranks) {
  const Model model = randomModel();
  const int size = model.blockSize, length = uniform(1, 3 * 64 + 5), blocksEach = (length + size - 1) / size;
  const std::string name = std::string(pathName(path)) + " round " + std::to_string(round) + " d" + std::to_string(model.params.headDim) +
                           " " + dtypeName(model.dtype) + " scan " + dtypeName(model.scanDtype) + (ranks ? " ranks" : "");
  StoreShape shape = shapeOf(model, 2, 4 * blocksEach);
  shape.trackMass = ranks;
  KvStore store(shape);
  poison(store);
  const std::vector<int32_t> blocks = shuffledBlocks(4 * blocksEach);
  std::vector<History> histories;
  for (int s = 0; s < 3; s++) histories.push_back(randomHistory(model, length, 1));
  std::vector<Run> runs;
  for (int s = 0; s < 3; s++) {
    const Settings settings = randomSettings(model, uniform(0, length));
    runs.push_back({&histories[s], ranks ? ofAnyRank(settings) : settings, {&blocks[s * blocksEach], &blocks[(s + 1) * blocksEach]}, 0, {}});
  }
  for (;;) {
    std::vector<Run*> ready;
    std::vector<int> counts;
    for (Run& run : runs) {
      if (run.done == length) continue;
      ready.push_back(&run);
      const int left = length - run.done;
      counts.push_back(std::min(left, uniform(0, 2) ? 1 : uniform(0, 70)));
    }
    if (ready.empty()) break;
    Observation observation;
    step(path, store, model, ready, counts, 2, false, ranks ? &observation : nullptr);
    check(observation.recall <= observation.rows + 1e-6 && observation.massKept <= observation.rows * 1.0001 &&
          observation.massKept >= 0 && observation.alpha <= observation.rows * 1.0001, name + ": impossible observation");
  }
  for (Run& run : runs) {
    compare(path, model, run, name);
    Run alone{run.history, run.settings, {&blocks[3 * blocksEach], &blocks[3 * blocksEach] + blocksEach}, 0, {}};
    while (alone.done < length) step(path, store, model, {&alone}, {std::min(length - alone.done, uniform(1, length))}, 1);
    check(same(run, alone), name + ": a sequence alone differs from the same in a batch");
  }
}

// A sequence whose steps end with rows that are taken back, as drafts are when they were wrong, and the same without them.
void takenBack(Path path, int round) {
  Model model = randomModel();
  const int size = model.blockSize, length = uniform(size, 2 * size + 40), blocksEach = (length + size - 1) / size;
  const std::string name = std::string(pathName(path)) + " round " + std::to_string(round) + " " + dtypeName(model.dtype) + " scan " +
                           dtypeName(model.scanDtype);
  KvStore store(shapeOf(model, 2, 2 * blocksEach));
  poison(store);
  const std::vector<int32_t> blocks = shuffledBlocks(2 * blocksEach);
  const History history = randomHistory(model, length, 1), wrong = randomHistory(model, length, oneOf({1, 50}));
  Settings settings = randomSettings(model, uniform(0, length / 2));
  settings.k = oneOf({1, 17});
  Run kept{&history, settings, {&blocks[0], &blocks[blocksEach]}, 0, {}};
  Run drafted{nullptr, settings, {&blocks[blocksEach], &blocks[blocksEach] + blocksEach}, 0, {}};
  while (kept.done < length) step(path, store, model, {&kept}, {1}, 1);
  while (drafted.done < length) {
    const int right = std::min(length - drafted.done, uniform(0, 2) ? uniform(1, 3) : uniform(1, size)), end = drafted.done + right;
    const int drafts = std::min(length - end, oneOf({0, 1, 4, 20}));
    History both = history;
    for (auto part : {&History::q, &History::k, &History::v}) {
      std::copy_n((wrong.*part).begin() + end, drafts, (both.*part).begin() + end);
    }
    drafted.history = &both;
    step(path, store, model, {&drafted}, {right + drafts}, uniform(1, 2));
    drafted.done = end;
    drafted.out.resize(end);
  }
  check(same(kept, drafted), name + ": rows that were taken back left a trace");
}

// Two sequences share a full first page; a third takes over a page in the middle, as a copy.
void sharedPages(Path path) {
  Model model = randomModel();
  model.params.window = 0;
  model.blockSize = 64;
  KvStore store(shapeOf(model, 2, 8));
  poison(store);
  const History history = randomHistory(model, 100, 1);
  const Settings settings = {1, 8, 32, 8, 1, 0, 64, 0};
  Run first{&history, settings, {5, 2}, 0, {}};
  step(path, store, model, {&first}, {80}, 1);
  store.copyBlock(2, 0);
  Run copy{&history, settings, {5, 0}, 80, first.out};
  Run second{&history, settings, {5, 7}, 64, {first.out.begin(), first.out.begin() + 64}};
  while (first.done < 100) step(path, store, model, {&first}, {1}, 1);
  step(path, store, model, {&second}, {36}, 2);
  step(path, store, model, {&copy}, {20}, 2);
  check(same(first, second), std::string(pathName(path)) + ": shared page");
  check(same(first, copy), std::string(pathName(path)) + ": copied page");
}

// A context of several spans, and at its end a few rows of the prompt and one decoded, by one head on several threads: spans run
// apart and must merge to the same bits.
void longDecode(Path path) {
  Model model{{0, 3, 1, 32, 0.2f, 0, 0, 0}, {}};
  model.dtype = oneOf({DType::F32, DType::F16});
  model.scanDtype = oneOf({DType::F32, DType::I8});
  const int length = 9000;
  const History history = randomHistory(model, length, 1);
  for (const int mode : {0, 1}) {
    KvStore store(shapeOf(model, 1, 284));
    poison(store);
    std::vector<int32_t> blocks = shuffledBlocks(284);
    const Settings settings = {mode, 8, 64, 16, 1, 0, length - 1, 0};
    Run one{&history, settings, {blocks.begin(), blocks.begin() + 142}, 0, {}};
    Run many{&history, settings, {blocks.begin() + 142, blocks.end()}, 0, {}};
    for (const auto& [run, threads] : {std::pair{&one, 1}, std::pair{&many, 4}}) {
      step(path, store, model, {run}, {length - 21}, threads, true);
      step(path, store, model, {run}, {20}, threads);
      step(path, store, model, {run}, {1}, threads);
    }
    check(same(one, many), std::string(pathName(path)) + ": long decode depends on threads, mode " + std::to_string(mode));
    const reference::Row row = reference::attend(model, settings, history, length - 1);
    double difference = 0;
    for (size_t i = 0; i < row.out.size(); i++) difference = std::max(difference, std::fabs(one.out.back()[i] - row.out[i]));
    check(difference < 1e-5 || row.margin < 1e-5, std::string(pathName(path)) + ": long decode differs by " + std::to_string(difference));
  }
}

// Finite in, finite out, and within the hull of V.
void extremes(Path path) {
  for (const float magnitude : {0.0f, 1e-42f, 1e-30f, 1e4f, 1e10f, 1e19f, 3e38f}) {
    for (const bool constant : {false, true}) {
      Model model = randomModel();
      model.blockSize = 64;
      KvStore store(shapeOf(model, 2, 3));
      poison(store);
      History history = randomHistory(model, 150, 1);
      for (auto* rows : {&history.q, &history.k}) {
        for (auto& row : *rows) {
          for (float& x : row) x = constant ? magnitude : std::clamp(x, -1.0f, 1.0f) * magnitude;
        }
      }
      for (const int sumLogits : {0, 1}) {
        Run run{&history, {1, 8, 16, 4, 1, sumLogits, 100, oneOf({0, 2})}, {2, 0, 1}, 0, {}};
        step(path, store, model, {&run}, {120}, 1);
        while (run.done < 150) step(path, store, model, {&run}, {1}, 1);
        float largest = 0;
        for (const auto& row : history.values) {
          for (float x : row) largest = std::max(largest, std::fabs(x));
        }
        bool fine = true;
        for (const auto& row : run.out) {
          for (float x : row) fine = fine && std::fabs(x) <= largest * 1.0001f;
        }
        check(fine, std::string(pathName(path)) + ": not finite or out of range at magnitude " + std::to_string(magnitude));
      }
    }
  }
}

void badShapes() {
  for (const StoreShape& shape : {StoreShape{0, 1, 8, 64, 1}, {1, 0, 8, 64, 1}, {1, 1, 0, 64, 1}, {1, 1, 8, 24, 1}, {1, 1, 8, 64, 0},
                                  {1, 1, 8, 64, 1, DType(5)}, {1, 1, 8, 64, 1, DType::F32, DType::F8}, {1, 1, 8, 16, 1, DType::F32, DType::I8}}) {
    bool thrown = false;
    try {
      KvStore store(shape);
    } catch (const std::invalid_argument&) {
      thrown = true;
    }
    check(thrown, "KvStore accepted a bad shape");
  }
  setenv("SPARQ_ISA", "mmx", 1);
  bool thrown = false;
  try {
    defaultPath();
  } catch (const std::invalid_argument&) {
    thrown = true;
  }
  check(thrown, "defaultPath accepted SPARQ_ISA=mmx");
  setenv("SPARQ_ISA", "scalar", 1);
  check(defaultPath() == Path::Scalar, "SPARQ_ISA=scalar");
  unsetenv("SPARQ_ISA");
  check(defaultPath() == availablePaths().front(), "default path is the fastest");
}

}  // namespace

// attend_test [ROUNDS [SEED]]: more rounds, for a long run by hand.
int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 25;
  if (argc > 2) randomness.seed(std::strtoull(argv[2], nullptr, 10));
  badShapes();
  for (const Path path : availablePaths()) {
    for (int round = 0; round < rounds; round++) randomSteps(path, round, false);
    for (int round = 0; round < rounds; round++) randomSteps(path, round, true);
    for (int round = 0; round < rounds; round++) takenBack(path, round);
    for (int round = 0; round < 4; round++) sharedPages(path);
    longDecode(path);
    extremes(path);
    std::printf("attend_test %s: %d checks so far, %d rows compared, largest difference %.1e, %d near ties left out\n", pathName(path),
                checks, compared, worst, nearTies);
  }
  check(nearTies * 20 < compared, "too many near ties: " + std::to_string(nearTies) + " of " + std::to_string(compared));
  if (failures > 0) std::printf("%d of %d checks failed\n", failures, checks);
  return failures > 0;
}
