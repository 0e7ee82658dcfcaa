#include "sampling.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>
#include <new>
#include <utility>

#include "kernels.h"
#include "sampling_kernels.h"

namespace sparq {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kLog2e = 1.4426950408889634;
// Tokens further below the likeliest one weigh nothing.
constexpr double kMostOctaves = 36;

const SamplingKernels& kernelsOf(Path path) {
#if defined(__x86_64__)
  if (path == Path::Avx512 || path == Path::Avx512Vnni) return avx512Sampling;
  if (path == Path::Avx2) return avx2Sampling;
#elif defined(__aarch64__)
  if (hasNeon(path)) return neonSampling;
#endif
  (void)path;
  return scalarSampling;
}

// Integers in the order of the floats; its own inverse up to the sign of zero.
int32_t orderOf(float x) {
  const auto bits = std::bit_cast<int32_t>(x + 0.0f);  // -0 equals 0
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
float floatOf(int64_t order) {
  const auto bits = static_cast<int32_t>(order);
  return std::bit_cast<float>(bits ^ ((bits >> 31) & 0x7fffffff));
}

// Where a list is cut: values that reach `high` stay, and of those in [low, high), which are equal or a single one, the first
// until `target` is reached from `above`, what those that reach `high` weigh.
struct Cut {
  float low, high;
  int32_t undecided;  // how many in [low, high)
  double above, target;
};

// Of a step's logits, one row at a time. Scratch is the calling thread's.
class RowSampler {
 public:
  RowSampler(const SamplingKernels& kernels, int32_t vocabSize) : kernels_(kernels), size_(vocabSize) {
    const size_t strides = strideCount(vocabSize), list = size_t(vocabSize) + kListSlack;
    const auto padded = [](size_t bytes) { return (bytes + 63) / 64 * 64; };
    const size_t listBytes = padded(list * sizeof(float)), maximaBytes = padded((strides + kListSlack) * sizeof(float));
    auto* memory = static_cast<char*>(threadScratch(padded(strides * sizeof(double)) + maximaBytes + 6 * listBytes));
    const auto take = [&](size_t bytes) { return std::exchange(memory, memory + bytes); };
    sums_ = reinterpret_cast<double*>(take(padded(strides * sizeof(double))));
    maxima_ = reinterpret_cast<float*>(take(maximaBytes));
    values_ = reinterpret_cast<float*>(take(listBytes));
    weights_ = reinterpret_cast<float*>(take(listBytes));
    ids_ = reinterpret_cast<int32_t*>(take(listBytes));
    restValues_ = reinterpret_cast<float*>(take(listBytes));
    restWeights_ = reinterpret_cast<float*>(take(listBytes));
    masked_ = reinterpret_cast<float*>(take(listBytes));
  }

  // Writes row `index` of the result. The logits are the same afterwards.
  void sample(float* logits, const RowSampling& row, size_t index, SampledRows& result) {
    logits_ = logits;
    const bool wantsLogprobs = row.logprobs >= 0;
    const bool adjusted = row.biasCount > 0 || (row.countPairs > 0 && (row.repetition != 1 || row.frequency != 0 || row.presence != 0));
    int32_t token = row.token;
    double logOfSum = 0, rawPeak = 0;
    Fault fault = Fault::None;
    if (wantsLogprobs) {
      fault = survey(&token);
      if (fault == Fault::None) {
        weighing_ = {peak_, static_cast<float>(kLog2e)};
        logOfSum = std::log(kernels_.sumStrides(logits_, size_, maxima_, weighing_, sums_));
        rawPeak = peak_;
        listLikeliest(row, index, logOfSum, result);
      }
    }
    if (fault == Fault::None && row.token < 0) {
      if (row.mask != nullptr) {
        kernels_.applyMask(logits, size_, row.mask, masked_);
        logits_ = masked_;
      }
      std::vector<std::pair<int32_t, float>> originals;
      if (adjusted) adjust(row, originals);
      if (adjusted || row.mask != nullptr || !wantsLogprobs) fault = survey(&token);
      if (fault == Fault::NotFinite && row.mask != nullptr && peak_ < 0) fault = Fault::NothingAllowed;
      if (fault == Fault::None) token = choose(row);
      for (auto original = originals.rbegin(); original != originals.rend(); ++original) logits_[original->first] = original->second;
    }
    result.tokenIds[index] = token;
    result.faults[index] = static_cast<int32_t>(fault);
    result.logprobs[index] = wantsLogprobs && fault == Fault::None ? double(logits[token]) - rawPeak - logOfSum : NAN;
  }

 private:
  // Finds the strides' maxima and the likeliest token. For a fault, sets *token to the one at fault.
  Fault survey(int32_t* token) {
    if (!kernels_.maxima(logits_, size_, maxima_)) {
      *token = static_cast<int32_t>(std::find_if(logits_, logits_ + size_, [](float x) { return std::isnan(x); }) - logits_);
      return Fault::NotANumber;
    }
    const int32_t strides = strideCount(size_);
    const auto stride = static_cast<int32_t>(std::max_element(maxima_, maxima_ + strides) - maxima_);
    peak_ = maxima_[stride];
    best_ = static_cast<int32_t>(std::find(logits_ + stride * kStride, logits_ + size_, peak_) - logits_);
    if (std::isfinite(peak_)) return Fault::None;
    *token = best_;
    return Fault::NotFinite;
  }

  // Bias, then penalties; what was there goes to `originals`.
  void adjust(const RowSampling& row, std::vector<std::pair<int32_t, float>>& originals) {
    originals.reserve(row.biasCount + row.countPairs);
    const auto change = [&](int32_t token, double value) {
      originals.emplace_back(token, logits_[token]);
      // The penalties make no infinity that the model did not.
      const bool overflows = std::isfinite(logits_[token]) && value > FLT_MAX;
      logits_[token] = overflows ? FLT_MAX : static_cast<float>(value);
    };
    for (size_t i = 0; i < row.biasCount; i++) {
      change(row.biasTokens[i], double(logits_[row.biasTokens[i]]) + row.biases[i]);
    }
    for (size_t i = 0; i < row.countPairs; i++) {
      const int32_t token = row.counts[2 * i], count = row.counts[2 * i + 1];
      const double logit = logits_[token];
      const double repeated = logit > 0 ? logit / row.repetition : logit * row.repetition;
      change(token, repeated - row.frequency * count - (count > 0 ? row.presence : 0));
    }
  }

  int32_t choose(const RowSampling& row) {
    if (row.temperature == 0 || row.topK == 1) return best_;
    // Neither infinite, which would make the best token's weight NaN, nor 0, which those of -infinity.
    const double scale = std::clamp(kLog2e / row.temperature, double(FLT_MIN), double(FLT_MAX));
    weighing_ = {peak_, static_cast<float>(scale)};
    const bool limited = row.topK > 0 && row.topK < size_;
    if (!limited && row.topP >= 1 && row.minP <= 0) return drawFromAll(row.uniform);

    double mass = 0, target = 0;
    if (limited) {
      listTop(row.topK);
      mass = kernels_.weigh(values_, count_, weighing_, weights_);
      target = row.topP * mass;
    } else {
      if (row.topP < 1) target = row.topP * kernels_.sumStrides(logits_, size_, maxima_, weighing_, sums_);
      mass = row.minP > 0 ? listHeavy(row.minP) : listHeaviest(target);
    }
    if (row.topP < 1 && mass > target) keep(true, cutAt({values_, weights_, nullptr}, count_, target, least_, peak_));
    if (limited && row.minP > 0) dropLight(row.minP);
    const double kept = massOf(0, count_);
    return ids_[draw(row.uniform * kept)];
  }

  // The list becomes the k likeliest tokens, k < size.
  void listTop(int32_t k) {
    const int32_t strides = strideCount(size_);
    // k strides reach this, so k tokens do.
    least_ = k < strides ? cutAt({maxima_, nullptr, nullptr}, strides, k, -kInfinity, peak_).low : -kInfinity;
    count_ = kernels_.collect(logits_, size_, maxima_, least_, values_, ids_);
    if (count_ > k) keep(false, cutAt({values_, nullptr, nullptr}, count_, k, least_, peak_));
  }

  // The list becomes all tokens that weigh at least `least`; returns what they weigh.
  double listHeavy(double least) {
    // A bound that is too low by more than rounding can make it too high.
    const double distance = (0.01 - std::log2(std::max(least, 0x1p-40))) / weighing_.scale;
    listFrom(peak_ - distance - 4e-7 * (std::fabs(peak_) + distance));
    return dropLight(least);
  }

  // The list becomes tokens that together weigh at least `target`, no lighter ones among them than left out; returns what
  // they weigh. Needs the strides' sums. A nucleus of few tokens is found without looking at more than a few strides.
  double listHeaviest(double target) {
    const auto boundAt = [&](double octaves) { return peak_ - octaves / weighing_.scale; };
    const int32_t strides = strideCount(size_);
    std::copy(sums_, sums_ + strides, restWeights_);
    // The strides that a bound does not rule out weigh too little: so do the tokens that reach it.
    const auto tooHigh = [&](double octaves) {
      return kernels_.atLeast(maxima_, restWeights_, strides, static_cast<float>(boundAt(octaves))).weight < target;
    };
    double octaves = 1;
    while (octaves < kMostOctaves && tooHigh(octaves)) octaves++;
    for (octaves += 1.5; octaves < kMostOctaves; octaves += 3) {
      const double mass = listFrom(boundAt(octaves));
      if (mass >= target) return mass;
    }
    return listFrom(-kInfinity);
  }

  // The list becomes all tokens whose logits reach `bound`, with their weights; returns what they weigh.
  double listFrom(double bound) {
    least_ = bound > -FLT_MAX ? static_cast<float>(bound) : -kInfinity;
    count_ = kernels_.collect(logits_, size_, maxima_, least_, values_, ids_);
    return kernels_.weigh(values_, count_, weighing_, weights_);
  }

  // Where to cut a list of n values in [least, most] so that the largest, which weigh `target` or just more, stay; all together weigh
  // more. Without weights each weighs 1. At most 32 passes, over ever fewer values.
  Cut cutAt(List list, int32_t n, double target, float least, float most) {
    int64_t low = orderOf(least), high = int64_t{orderOf(most)} + 1;
    int32_t countLow = n, countHigh = 0;  // how many of the list reach low and high
    double above = 0, removed = 0;        // what those that reach high weigh; what the list no longer has
    while (high - low > 1 && countLow - countHigh > 1) {
      const int64_t middle = low + (high - low) / 2;
      const Mass reach = kernels_.atLeast(list.values, list.weights, n, floatOf(middle));
      const double mass = removed + (list.weights == nullptr ? reach.count : reach.weight);
      if (mass >= target) {
        low = middle;
        countLow = reach.count;
      } else {
        high = middle;
        countHigh = reach.count;
        above = mass;
      }
      const int32_t undecided = countLow - countHigh;
      if (n <= 4 * kStride || undecided > n / 2) continue;
      const List rest{restValues_, list.weights == nullptr ? nullptr : restWeights_, nullptr};
      n = kernels_.between(list, n, floatOf(low), floatOf(high), rest);
      list = rest;
      removed = above;
      countLow = n;
      countHigh = 0;
    }
    return {floatOf(low), floatOf(high), countLow - countHigh, above, target};
  }

  // Cuts the list, that of a cut by weight or by number.
  void keep(bool weighted, Cut cut) {
    for (int32_t i = 0; cut.undecided > 1 && i < count_; i++) {
      if (values_[i] < cut.low || values_[i] >= cut.high) continue;
      if (cut.above >= cut.target) values_[i] = NAN;  // in no interval
      cut.above += weighted ? weights_[i] : 1;
    }
    const List list{values_, weighted ? weights_ : nullptr, ids_};
    count_ = kernels_.between(list, count_, cut.low, kInfinity, list);
  }

  // Drops what weighs less than `least` from the list; returns what the rest weighs.
  double dropLight(double least) {
    const List byWeight{weights_, values_, ids_};
    count_ = kernels_.between(byWeight, count_, static_cast<float>(least), kInfinity, byWeight);
    return massOf(0, count_);
  }

  double massOf(int32_t begin, int32_t end) const {
    return kernels_.atLeast(weights_ + begin, weights_ + begin, end - begin, 0).weight;
  }

  // The first of the list at which the running sum of weights passes `target`; if rounding made that too large, the last with
  // any weight.
  int32_t draw(double target) const {
    double reached = 0;
    int32_t start = 0;
    for (; start + kStride < count_; start += kStride) {
      const double mass = massOf(start, start + kStride);
      if (reached + mass > target) break;
      reached += mass;
    }
    for (int32_t i = start; i < count_; i++) {
      reached += weights_[i];
      if (reached > target) return i;
    }
    int32_t last = count_ - 1;
    while (last > 0 && weights_[last] == 0) last--;
    return last;
  }

  // A draw from the whole vocabulary: only the stride that is hit is weighed token by token.
  int32_t drawFromAll(double uniform) {
    double target = uniform * kernels_.sumStrides(logits_, size_, maxima_, weighing_, sums_);
    const int32_t strides = strideCount(size_);
    int32_t stride = 0;
    while (stride < strides - 1 && target >= sums_[stride]) target -= sums_[stride++];
    // Rounding may lead past the last stride that weighs anything.
    while (stride > 0 && sums_[stride] == 0) stride--;
    const int32_t start = stride * kStride;
    count_ = std::min(kStride, size_ - start);
    kernels_.weigh(logits_ + start, count_, weighing_, weights_);
    return start + draw(target);
  }

  // Writes the likeliest tokens that the row asks for, the likeliest first.
  void listLikeliest(const RowSampling& row, size_t index, double logOfSum, SampledRows& result) {
    const int32_t wanted = std::min(row.logprobs, size_);
    if (wanted == 0) return;
    if (wanted < size_) {
      listTop(wanted);
    } else {
      listFrom(-kInfinity);
    }
    std::pair<float, int32_t> top[kMostLogprobs];
    for (int32_t i = 0; i < wanted; i++) top[i] = {-values_[i], ids_[i]};
    std::sort(top, top + wanted);
    for (int32_t i = 0; i < wanted; i++) {
      result.topIds[index * result.topCount + i] = top[i].second;
      result.topLogprobs[index * result.topCount + i] = -double(top[i].first) - peak_ - logOfSum;
    }
  }

  const SamplingKernels& kernels_;
  const int32_t size_;
  float* logits_ = nullptr;  // [size_], and what survey() found there
  float peak_ = 0;
  int32_t best_ = 0;
  float* maxima_;  // [strides]
  double* sums_;   // [strides]
  Weighing weighing_{};
  // The list of candidates, ids ascending; no value is below `least_`.
  float* values_;
  float* weights_;
  int32_t* ids_;
  int32_t count_ = 0;
  float least_ = 0;
  float* restValues_;  // of a list that is being cut
  float* restWeights_;
  float* masked_;  // a row's logits under its mask
};

}  // namespace

SampledRows sampleRows(Path path, float* logits, int32_t vocabSize, const SamplingInput& input, const Pool& pool) {
  const size_t count = input.size();
  SampledRows result;
  for (size_t i = 0; i < count; i++) result.topCount = std::max(result.topCount, input.row(i).logprobs);
  result.tokenIds.resize(count);
  result.faults.resize(count);
  result.logprobs.resize(count);
  result.topIds.resize(count * result.topCount, -1);
  result.topLogprobs.resize(count * result.topCount, NAN);

  struct Call {
    const SamplingKernels& kernels;
    float* logits;
    int32_t vocabSize;
    const SamplingInput& input;
    SampledRows& result;
  };
  Call call{kernelsOf(path), logits, vocabSize, input, result};
  const auto task = [](void* user, size_t index) {
    const Call& call = *static_cast<const Call*>(user);
    float* row = call.logits + size_t(call.input.rows[index]) * call.vocabSize;
    try {
      RowSampler(call.kernels, call.vocabSize).sample(row, call.input.row(index), index, call.result);
    } catch (const std::bad_alloc&) {
      // Nothing above this may be thrown through.
      call.result.faults[index] = static_cast<int32_t>(Fault::NoMemory);
    }
  };
  if (count == 1) {
    task(&call, 0);
  } else if (count > 1) {
    pool.run(pool.context, count, task, &call);
  }
  return result;
}

}  // namespace sparq
