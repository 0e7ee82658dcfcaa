#include "quantised_linear.h"

#include <algorithm>
#include <cmath>

namespace sparq {
namespace {

// Sums and maxima are taken in this many lanes, then over the lanes: the same order whatever the vector width.
constexpr int64_t kLanes = 16;

// Blocks smaller than this are left to the second half whole: the reciprocal of the scale would be infinite.
constexpr float kSmallest = 1e-30f;

struct Split {
  const float* input;
  float* halves;
  float* sums;
  int64_t rows, columns, blockSize, rowsPerTask;
};

[[gnu::always_inline]] inline void splitRow(const Split& call, int64_t row) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
  const int64_t blocks = call.columns / call.blockSize;
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t at = row * call.columns + block * call.blockSize;
    const float* x = call.input + at;
    float largest[kLanes] = {}, sum[kLanes] = {};
    for (int64_t i = 0; i < call.blockSize; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; lane++) {
        const float magnitude = std::fabs(x[i + lane]);
        largest[lane] = magnitude > largest[lane] ? magnitude : largest[lane];
        sum[lane] += x[i + lane];
      }
    }
    for (int64_t width = kLanes / 2; width > 0; width /= 2) {
      for (int64_t lane = 0; lane < width; lane++) {
        largest[lane] = largest[lane + width] > largest[lane] ? largest[lane + width] : largest[lane];
        sum[lane] += sum[lane + width];
      }
    }
    call.sums[row * blocks + block] = sum[0];
    const float scale = largest[0] / 127.0f;
    const float reciprocal = largest[0] > kSmallest ? 127.0f / largest[0] : 0.0f;
    float* __restrict first = call.halves + at;
    float* __restrict second = first + call.rows * call.columns;
    for (int64_t i = 0; i < call.blockSize; i++) {
      const float rounded = (x[i] * reciprocal + kRound) - kRound;
      first[i] = rounded * scale;
      second[i] = x[i] - first[i];
    }
  }
}

struct Join {
  const float* products;
  const float* sums;
  const float* offsets;
  float* out;
  int64_t rows, columns, blocks, columnsPerTask, rowsPerTask;
};

[[gnu::always_inline]] inline void joinRow(const Join& call, int64_t row, int64_t begin, int64_t end) {
  constexpr int64_t kTile = 64;
  const float* first = call.products + row * call.columns;
  const float* second = first + call.rows * call.columns;
  const float* sums = call.sums + row * call.blocks;
  float* out = call.out + row * call.columns;
  int64_t column = begin;
  for (; column + kTile <= end; column += kTile) {
    float total[kTile];
    for (int64_t i = 0; i < kTile; i++) total[i] = first[column + i] + second[column + i];
    for (int64_t block = 0; block < call.blocks; block++) {
      const float* offsets = call.offsets + block * call.columns + column;
      for (int64_t i = 0; i < kTile; i++) total[i] += sums[block] * offsets[i];
    }
    for (int64_t i = 0; i < kTile; i++) out[column + i] = total[i];
  }
  for (; column < end; column++) {
    float total = first[column] + second[column];
    for (int64_t block = 0; block < call.blocks; block++) {
      total += sums[block] * call.offsets[block * call.columns + column];
    }
    out[column] = total;
  }
}

[[gnu::always_inline]] inline void splitTask(const Split& call, int64_t index) {
  const int64_t begin = index * call.rowsPerTask, end = std::min(call.rows, begin + call.rowsPerTask);
  for (int64_t row = begin; row < end; row++) splitRow(call, row);
}

[[gnu::always_inline]] inline void joinTask(const Join& call, int64_t index) {
  const int64_t across = (call.columns + call.columnsPerTask - 1) / call.columnsPerTask;
  const int64_t firstColumn = index % across * call.columnsPerTask;
  const int64_t firstRow = index / across * call.rowsPerTask;
  const int64_t lastRow = std::min(call.rows, firstRow + call.rowsPerTask);
  for (int64_t row = firstRow; row < lastRow; row++) {
    joinRow(call, row, firstColumn, std::min(call.columns, firstColumn + call.columnsPerTask));
  }
}

using Task = void (*)(void* user, size_t index);

void splitBaseline(void* user, size_t index) { splitTask(*static_cast<Split*>(user), static_cast<int64_t>(index)); }
void joinBaseline(void* user, size_t index) { joinTask(*static_cast<Join*>(user), static_cast<int64_t>(index)); }

#if defined(__x86_64__)
[[gnu::target("avx2")]] void splitAvx2(void* user, size_t index) {
  splitTask(*static_cast<Split*>(user), static_cast<int64_t>(index));
}
[[gnu::target("avx2")]] void joinAvx2(void* user, size_t index) {
  joinTask(*static_cast<Join*>(user), static_cast<int64_t>(index));
}
#endif

Task splitFor([[maybe_unused]] Path path) {
#if defined(__x86_64__)
  if (hasAvx2(path)) return splitAvx2;
#endif
  return splitBaseline;
}

Task joinFor([[maybe_unused]] Path path) {
#if defined(__x86_64__)
  if (hasAvx2(path)) return joinAvx2;
#endif
  return joinBaseline;
}

void run(const Pool& pool, int64_t tasks, Task task, void* call) {
  if (tasks == 1) return task(call, 0);
  pool.run(pool.context, static_cast<size_t>(tasks), task, call);
}

int64_t divideUp(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Values, or multiplications, in one task: enough to be worth a thread's while.
constexpr int64_t kSplitWork = 8192;
constexpr int64_t kJoinWork = 16384;

}  // namespace

void splitActivations(Path path, const float* input, float* halves, float* sums, int64_t rows, int64_t columns,
                      int64_t blockSize, const Pool& pool) {
  if (rows == 0) return;
  Split call{input, halves, sums, rows, columns, blockSize, std::max<int64_t>(1, kSplitWork / columns)};
  run(pool, divideUp(rows, call.rowsPerTask), splitFor(path), &call);
}

void joinProducts(Path path, const float* products, const float* sums, const float* offsets, float* out, int64_t rows,
                  int64_t columns, int64_t blocks, const Pool& pool) {
  if (rows == 0 || columns == 0) return;
  // Whole tiles of columns, so that where a thread begins changes nothing.
  const int64_t columnsPerTask = std::max<int64_t>(64, kJoinWork / (blocks + 2) / 64 * 64);
  const int64_t rowsPerTask = std::max<int64_t>(1, kJoinWork / ((blocks + 2) * std::min(columns, columnsPerTask)));
  Join call{products, sums, offsets, out, rows, columns, blocks, columnsPerTask, rowsPerTask};
  run(pool, divideUp(columns, columnsPerTask) * divideUp(rows, rowsPerTask), joinFor(path), &call);
}

}  // namespace sparq
