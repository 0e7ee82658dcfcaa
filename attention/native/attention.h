// The attention kernels' whole interface: free of N-API and of ONNX Runtime types.
//
// Rows of a step are ragged: decode rows and prefill chunks of many sequences follow one another in one [rows, width]
// matrix. `attendLayer` appends the rows' keys and values to the paged store, then attends.
//
// A row's result depends only on its own sequence (its query, the pages up to its position, its settings), never on what
// else is in the step nor on how the sequence was cut into chunks: the kernels are bitwise row-invariant on each path.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "elements.h"

namespace sparq {

enum class Path : int32_t { Scalar = 0, Avx2 = 1, Avx512 = 2, Neon = 3, Avx512Vnni = 4, NeonDot = 5 };

// Avx512 is F, BW, DQ and VL; Avx512Vnni and NeonDot have the int8 dot products besides.
inline bool hasAvx2(Path path) { return path == Path::Avx2 || path == Path::Avx512 || path == Path::Avx512Vnni; }
inline bool hasNeon(Path path) { return path == Path::Neon || path == Path::NeonDot; }

const char* pathName(Path path);
const char* dtypeName(DType type);
// Paths that this CPU can run, fastest first. Never empty: scalar is always there.
std::vector<Path> availablePaths();
// The fastest path, or the one that the environment variable SPARQ_ISA names (throws std::invalid_argument if unusable).
Path defaultPath();

enum class Mode : int32_t { Dense = 0, Sparq = 1 };

// What ranks a sparse row's positions before the top-k; see `ranks` in ../types.ts.
enum class Rank : int32_t { Sparq = 0, Exact = 1, None = 2, Random = 3, Mass = 4 };

const char* rankName(Rank rank);

// Per sequence; the TypeScript side writes it as ten int32.
struct Settings {
  int32_t mode;        // Mode
  int32_t r;           // query components used in the score pass, 1..headDim
  int32_t k;           // positions kept, >= 1; a row with at most k visible positions attends densely
  int32_t local;       // the last `local` positions are always among the k; 0..k
  int32_t meanValue;   // 1: reallocate the mass left out to the running mean of V (SparQ step 3)
  int32_t sumLogits;   // 0: sum softmaxed scores over a group before the top-k (the paper); 1: sum raw logits (its code)
  int32_t denseUntil;  // rows at positions below this are the prompt and attend densely; decoding, and SparQ, begins here
  int32_t bucketTopK;  // 0: exact top-k; 1, 2 or 4: bucketed, that many kept of each bucket (see body_select.inc)
  int32_t rank = 0;    // Rank
  int32_t sinks = 0;   // the first `sinks` positions of the sequence are always among the k; 0..k - local
};
static_assert(sizeof(Settings) == 40);

struct StoreShape {
  int32_t layers, kvHeads, headDim, blockSize, blocks;
  DType dtype = DType::F32;      // of K and V by token
  DType scanDtype = DType::F32;  // of K by component: F32, F16, BF16 or I8
  bool trackMass = false;        // keep what Rank::Mass ranks by, see mass.h
};

// What the store holds of one block of one layer and KV head.
struct Page {
  char* keys;         // [blockSize][2][headDim] of dtype: each token's key and value side by side
  char* values;       // the same from the first value on
  char* scan;         // [headDim][blockSize] of scanDtype; for I8 see body_scan.inc. Written when the page is full.
  uint32_t* ranges;   // [headDim], scanDtype I8 only: bf16 middle (high half) and bf16 step (low half) of each component
  float* valueSum;    // [headDim], the sum of the values of the first *summed tokens, as stored, in their order
  int32_t* summed;
  float* keyScales;   // [blockSize], dtypes with a scale only
  float* valueScales; // [blockSize], dtypes with a scale only
};

class MassTracker;

// The paged KV cache, in three parts: tokens, laid out [layer][block][KV head], and keys by component and their ranges, laid out
// [layer][KV head][block]: what one head scans lies close together and needs few address translations. Memory is reserved at
// once and touched only as blocks are used; what lies before and after each part may not be accessed at all.
class KvStore {
 public:
  explicit KvStore(const StoreShape& shape);  // throws std::invalid_argument, std::bad_alloc
  ~KvStore();
  KvStore(const KvStore&) = delete;
  KvStore& operator=(const KvStore&) = delete;

  const StoreShape& shape() const { return shape_; }
  size_t bytesPerBlock() const;  // all layers and heads
  size_t bytes() const { return bytesPerBlock() * shape_.blocks; }
  size_t tokenBytes() const { return tokenBytes_; }  // of a token's key and value
  Page page(int layer, int block, int head) const {
    char* at = parts_[0].memory + ((size_t(layer) * shape_.blocks + block) * shape_.kvHeads + head) * parts_[0].pageBytes;
    const size_t scan = (size_t(layer) * shape_.kvHeads + head) * shape_.blocks + block;
    const auto floats = [at](size_t offset) { return reinterpret_cast<float*>(at + offset); };
    return {at, at + values_, parts_[1].memory + scan * parts_[1].pageBytes,
            reinterpret_cast<uint32_t*>(parts_[2].memory + scan * parts_[2].pageBytes), floats(sum_),
            reinterpret_cast<int32_t*>(at + summed_), floats(keyScales_), floats(valueScales_)};
  }
  MassTracker* masses() const { return masses_.get(); }  // null without trackMass
  void fill(float value);            // all of it; for tests
  void copyBlock(int from, int to);  // all layers; for copy-on-write

 private:
  struct Part {
    size_t pageBytes = 0;  // of a block, layer and head
    char* memory = nullptr;
  };
  size_t pages() const { return size_t(shape_.layers) * shape_.kvHeads * shape_.blocks; }

  StoreShape shape_;
  std::unique_ptr<MassTracker> masses_;
  Part parts_[3];
  void* mapping_ = nullptr;  // the parts with what guards them
  size_t mappingBytes_ = 0, tokenBytes_ = 0;
  size_t values_ = 0, sum_ = 0, summed_ = 0, keyScales_ = 0, valueScales_ = 0;  // offsets in a page of the first part
};

struct LayerParams {
  int32_t layer, heads, kvHeads, headDim;
  float scale;           // of the logits, usually 1/sqrt(headDim)
  int32_t window;        // sliding window in positions, 0 = none
  int32_t rotaryDim;     // leading components rotated, 0 = no rope; even, <= headDim
  int32_t interleaved;   // 0: pairs (i, i + rotaryDim/2) as Hugging Face; 1: pairs (2i, 2i + 1) as GPT-J
};

// Element (row t, head h, component c) of a projection is data[t * rowStride + offset + h * headStride + c].
struct Projection {
  const float* data;
  ptrdiff_t rowStride, offset, headStride;
};

struct Sequence {
  int32_t rowStart, rowCount;  // its rows in the step
  int32_t contextLength;       // positions cached before this step; row i has position contextLength + i
  const int32_t* blockTable;   // blocks of the store; covers contextLength + rowCount positions
  int32_t blockCount;
  Settings settings;
};

struct Step {
  const Sequence* sequences;
  int32_t sequenceCount;
  int32_t rows;
  const float* cosSin;  // [rows][rotaryDim/2][2] (cos, sin), null when rotaryDim is 0
};

// Bytes that the algorithm must read from the store, in its dtypes, summed over layers, KV heads and rows of a step. Each
// row counts what it sees, also where a tile of rows reads a page together.
struct Traffic {
  uint64_t scoreBytes = 0;            // SparQ step 1: r components of every visible key, their ranges; the own page's keys.
                                      // Rank::Exact: every visible key. Rank::Mass: a sum for each position kept
  uint64_t gatherBytes = 0;           // SparQ steps 2 and 3: kept keys and values, sums of V
  uint64_t denseBytes = 0;            // rows that attended densely
  uint64_t denseEquivalentBytes = 0;  // what all rows would have read densely
};

// What the sparse rows of a layer kept, summed over rows, each with its mean over KV heads; see Observation in ../types.ts.
struct Observation {
  double rows = 0, recall = 0, massKept = 0, alpha = 0;
};

// Sparse rows of Rank::Sparq broken on purpose, for tests of what should notice.
enum class KernelFault : int32_t {
  None = 0,
  Page = 1,   // the positions that the top-k chose are off by a page
  Tau = 2,    // step 1's softmax without its temperature: tau = sqrt(headDim)
  Group = 3,  // each KV head attends for the queries of its neighbour
};

// What a layer's tasks do, for those who ask where the time goes.
enum class Phase : int32_t {
  Append = 0,  // rope of keys, writing keys and values
  Scan = 1,    // SparQ step 1: the reduced query, scores of every visible position and their softmax
  TopK = 2,    // which positions are kept
  Gather = 3,  // exact attention over these; SparQ step 3
  Dense = 4,   // rows that attend densely
  Other = 5,   // rows of other ranks than SparQ's, all of them
};
constexpr int kPhases = 6;

// Nanoseconds of each phase, summed over threads.
struct PhaseTimes {
  int64_t of[kPhases] = {};
};

// What is not attention itself. With an observation every key is read once more.
struct Evaluation {
  Observation* observation = nullptr;  // added to
  KernelFault fault = KernelFault::None;
  PhaseTimes* times = nullptr;  // added to
};

// A thread pool: runs task(user, i) for every i in [0, n) and returns when all are done.
struct Pool {
  void* context;
  void (*run)(void* context, size_t n, void (*task)(void* user, size_t i), void* user);
  int threads;
};

// Appends the rows' K (after rope) and V, then writes out[row][heads * headDim]. The caller has validated the step
// (block tables cover the positions, ids inside the store, settings in range). Adds to *traffic when it is not null.
// A sequence may go back and write positions again, as after drafts that were refused: what it wrote from there on is as if
// it had never been. Finite inputs give finite results while |V| stays below FLT_MAX / positions.
void attendLayer(Path path, KvStore& store, const LayerParams& params, const Step& step, const Projection& q,
                 const Projection& k, const Projection& v, float* out, const Pool& pool, Traffic* traffic,
                 const Evaluation& evaluation = {});
// Its two halves.
void appendLayer(Path path, KvStore& store, const LayerParams& params, const Step& step, const Projection& k,
                 const Projection& v, const Pool& pool, PhaseTimes* times = nullptr);
void attendAppended(Path path, const KvStore& store, const LayerParams& params, const Step& step, const Projection& q, float* out,
                    const Pool& pool, Traffic* traffic, const Evaluation& evaluation = {});

}  // namespace sparq
