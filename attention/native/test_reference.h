// For the native tests: the attention of attention.h once more, as plainly as possible and in double, over whole
// sequences; and a thread pool. What the store rounds is rounded here with the same float operations, and so is the int8
// scan, whose integers are exact: what is left to compare is arithmetic.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <thread>
#include <vector>

#include "attention.h"

namespace reference {

using sparq::DType;

using Vector = std::vector<double>;

struct Model {
  sparq::LayerParams params;
  std::vector<float> inverseFrequencies;
  DType dtype = DType::F32, scanDtype = DType::F32;
  int blockSize = 64;
};

// One sequence's projections, float rows [heads or kvHeads][headDim] by position.
struct History {
  std::vector<std::vector<float>> q, k, v;
  std::vector<std::vector<float>> keys, values;  // as stored: k after rope, v
};

struct Row {
  std::vector<double> out;  // [heads][headDim]
  double margin = 1e300;    // how far the top-r and the top-k were from choosing otherwise, relative to the scores' size
};

inline Vector rotated(const Model& model, const float* x, int position) {
  const auto& p = model.params;
  Vector y(x, x + p.headDim);
  for (int i = 0; i < p.rotaryDim / 2; i++) {
    const int a = p.interleaved ? 2 * i : i, b = p.interleaved ? 2 * i + 1 : i + p.rotaryDim / 2;
    // The kernels get cosines and sines as floats.
    const double angle = double(position) * double(model.inverseFrequencies[i]);
    const double c = float(std::cos(angle)), s = float(std::sin(angle));
    y[a] = x[a] * c - x[b] * s;
    y[b] = x[b] * c + x[a] * s;
  }
  return y;
}

inline std::vector<float> rotatedFloats(const Model& model, const float* x, int position) {
  const auto& p = model.params;
  std::vector<float> y(x, x + p.headDim);
  for (int i = 0; i < p.rotaryDim / 2; i++) {
    const int a = p.interleaved ? 2 * i : i, b = p.interleaved ? 2 * i + 1 : i + p.rotaryDim / 2;
    const double angle = double(position) * double(model.inverseFrequencies[i]);
    const float c = float(std::cos(angle)), s = float(std::sin(angle));
    y[a] = x[a] * c - x[b] * s;
    y[b] = x[b] * c + x[a] * s;
  }
  return y;
}

// x as the type stores it.
inline std::vector<float> stored(std::vector<float> x, DType type) {
  sparq::withElement(type, [&]<typename T>(const T* kind) {
    const float limit = sparq::elementLimit(kind);
    float factor = 1, scale = 1;
    if (sizeof(T) == 1) {
      float largest = 0;
      for (float e : x) largest = std::max(largest, std::fabs(e));
      factor = largest > 1e-30f ? limit / largest : 0;
      scale = largest > 1e-30f ? largest / limit : 0;
    }
    for (float& e : x) {
      T element;
      sparq::fromFloat(std::clamp(e * factor, -limit, limit), element);
      e = sparq::toFloat(element) * scale;
    }
  });
  return x;
}

inline void store(const Model& model, History& history) {
  const int d = model.params.headDim;
  history.keys.clear();
  history.values.clear();
  for (size_t j = 0; j < history.k.size(); j++) {
    std::vector<float> keys, values;
    for (int head = 0; head < model.params.kvHeads; head++) {
      const auto key = stored(rotatedFloats(model, &history.k[j][head * d], static_cast<int>(j)), model.dtype);
      const auto value = stored({&history.v[j][head * d], &history.v[j][head * d] + d}, model.dtype);
      keys.insert(keys.end(), key.begin(), key.end());
      values.insert(values.end(), value.begin(), value.end());
    }
    history.keys.push_back(keys);
    history.values.push_back(values);
  }
}

inline double dot(const Vector& a, const float* b) { return std::inner_product(a.begin(), a.end(), b, 0.0); }

// q[components] . key[components] of the positions [begin, begin + blockSize) of a full page, as its scan copy gives it.
inline Vector pageLogits(const Model& model, const std::vector<float>& q, const std::vector<int>& components,
                         const History& history, int begin, int column) {
  const int size = model.blockSize;
  Vector logits(size);
  const auto key = [&](int j, int c) { return history.keys[begin + j][column + c]; };
  if (model.scanDtype != DType::I8) {
    for (int j = 0; j < size; j++) {
      for (size_t i = 0; i < components.size(); i++) {
        logits[j] += double(q[i]) * stored({key(j, components[i])}, model.scanDtype)[0];
      }
    }
    return logits;
  }
  std::vector<float> middles, steps, scaled;
  float most = 0;
  double bias = 0;
  for (size_t i = 0; i < components.size(); i++) {
    float low = key(0, components[i]), high = low;
    for (int j = 1; j < size; j++) {
      low = std::min(low, key(j, components[i]));
      high = std::max(high, key(j, components[i]));
    }
    const float middle = stored({0.5f * low + 0.5f * high}, DType::BF16)[0];
    const float step = std::max(high - middle, middle - low) * (1.0078125f / 127.0f);
    middles.push_back(middle);
    steps.push_back(step > 1e-37f ? stored({step}, DType::BF16)[0] : 0);
    scaled.push_back(q[i] * steps[i]);
    most = std::max(most, std::fabs(scaled[i]));
    bias += double(q[i]) * middle;
  }
  for (int j = 0; j < size; j++) {
    for (size_t i = 0; i < components.size(); i++) {
      const float inverse = steps[i] > 0 ? 1.0f / steps[i] : 0;
      const float code = std::clamp(std::rint((key(j, components[i]) - middles[i]) * inverse) + 128.0f, 0.0f, 255.0f);
      logits[j] += double(std::rint(scaled[i] * (most > 1e-30f ? 127.0f / most : 0.0f))) * (code - 128.0f);
    }
    logits[j] = logits[j] * (most > 1e-30f ? most / 127.0f : 0.0f) + bias;
  }
  return logits;
}

inline void softmax(Vector& x) {
  const double top = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& e : x) sum += e = std::exp(e - top);
  for (double& e : x) e /= sum;
}

// The k largest, ascending; the lower index first among equals. `margin` shrinks to the gap at the edge.
inline std::vector<int> largest(const Vector& x, int n, int k, double& margin) {
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return x[a] > x[b]; });
  if (k > 0 && k < n) {
    const double size = std::max({std::fabs(x[order[0]]), std::fabs(x[order[n - 1]]), 1e-300});
    margin = std::min(margin, (x[order[k - 1]] - x[order[k]]) / size);
  }
  order.resize(std::min(k, n));
  std::sort(order.begin(), order.end());
  return order;
}

// As body_ranks.inc has it.
inline double randomScore(int layer, int head, int position, int key) {
  uint32_t x = 0x9e3779b9u;
  for (const int part : {layer, head, position, key}) {
    x ^= static_cast<uint32_t>(part);
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    x ^= x >> 16;
  }
  return (x >> 8) * 0x1p-24;
}

// Rank::Mass over a sequence: for each KV head the masses of its prompt's positions, and what is alive since.
struct Masses {
  std::vector<Vector> prompt;
  std::vector<std::vector<int>> alive;
  std::vector<Vector> mass;
  double margin = 1e300;  // of all choices so far
};

// `masses`: of a sequence whose rows come one after another from position 0 on; needed for Rank::Mass alone.
inline Row attend(const Model& model, const sparq::Settings& settings, const History& history, int position, Masses* masses = nullptr) {
  const auto& p = model.params;
  const int d = p.headDim, group = p.heads / p.kvHeads;
  const int first = p.window > 0 ? std::max(0, position + 1 - p.window) : 0, n = position + 1 - first;
  const auto rankBy = static_cast<sparq::Rank>(settings.rank);
  const int sinks = std::clamp(settings.sinks - first, 0, settings.k - settings.local);
  const bool decodesByMass =
      settings.mode == int(sparq::Mode::Sparq) && rankBy == sparq::Rank::Mass && position >= settings.denseUntil;
  const bool sparse = settings.mode == int(sparq::Mode::Sparq) && position >= settings.denseUntil && n > settings.k;
  Row row;
  row.out.resize(size_t(p.heads) * d);
  for (int head = 0; head < p.kvHeads; head++) {
    std::vector<const float*> keys;
    std::vector<Vector> queries;
    for (int j = first; j <= position; j++) keys.push_back(&history.keys[j][head * d]);
    for (int h = 0; h < group; h++) queries.push_back(rotated(model, &history.q[position][(head * group + h) * d], position));
    std::vector<int> kept(n);
    std::iota(kept.begin(), kept.end(), 0);
    std::vector<Vector> approximate;
    Vector rank(n);
    if (decodesByMass) {
      auto& alive = masses->alive[head];
      auto& mass = masses->mass[head];
      if (position == settings.denseUntil) {
        alive.resize(position);
        std::iota(alive.begin(), alive.end(), 0);
        mass = masses->prompt[head];
        mass.resize(position);
      }
      const auto seen = std::lower_bound(alive.begin(), alive.end(), first) - alive.begin();
      alive.erase(alive.begin(), alive.begin() + seen);
      mass.erase(mass.begin(), mass.begin() + seen);
      alive.push_back(position);
      mass.push_back(0);
      const int count = int(alive.size());
      if (count > settings.k) {
        const int leading = int(std::lower_bound(alive.begin(), alive.end(), settings.sinks) - alive.begin());
        const int fixed = std::min(leading, settings.k - settings.local), older = count - settings.local;
        std::vector<int> places(fixed);
        std::iota(places.begin(), places.end(), 0);
        for (int j : largest(Vector(mass.begin() + fixed, mass.begin() + older), older - fixed, settings.k - settings.local - fixed,
                             masses->margin)) {
          places.push_back(fixed + j);
        }
        for (int j = older; j < count; j++) places.push_back(j);
        std::vector<int> keptPositions;
        Vector keptMass;
        for (int j : places) keptPositions.push_back(alive[j]), keptMass.push_back(mass[j]);
        alive = keptPositions;
        mass = keptMass;
      }
      row.margin = std::min(row.margin, masses->margin);
    }
    if (sparse && rankBy == sparq::Rank::Exact) {
      for (const Vector& q : queries) {
        Vector logits;
        for (const float* key : keys) logits.push_back(dot(q, key) * p.scale);
        const Vector raw = logits;
        softmax(logits);
        for (int j = 0; j < n; j++) rank[j] += settings.sumLogits || group == 1 ? raw[j] : logits[j];
        approximate.push_back(logits);
      }
    }
    if (sparse && rankBy == sparq::Rank::Sparq) {
      Vector magnitude(d);
      for (const Vector& q : queries) {
        for (int c = 0; c < d; c++) magnitude[c] += std::fabs(q[c]);
      }
      const std::vector<int> components = largest(magnitude, d, settings.r, row.margin);
      for (int h = 0; h < group; h++) {
        const auto q = rotatedFloats(model, &history.q[position][(head * group + h) * d], position);
        double all = 0, some = 0;
        for (float x : q) all += std::fabs(x);
        for (int c : components) some += std::fabs(q[c]);
        // The kernels take powers of two.
        const float kLog2E = 1.44269504f;
        const double factor = some > 0 ? p.scale * kLog2E / std::sqrt(some / all) : 0;
        std::vector<float> reduced;
        for (int c : components) reduced.push_back(static_cast<float>(q[c] * factor));
        Vector logits(n);
        const int own = position / model.blockSize * model.blockSize;
        for (int begin = first / model.blockSize * model.blockSize; begin < own; begin += model.blockSize) {
          const Vector page = pageLogits(model, reduced, components, history, begin, head * d);
          for (int j = std::max(begin, first); j < begin + model.blockSize; j++) logits[j - first] = page[j - begin];
        }
        for (int j = std::max(own, first); j <= position; j++) {
          for (size_t i = 0; i < components.size(); i++) logits[j - first] += double(reduced[i]) * keys[j - first][components[i]];
        }
        for (double& x : logits) x /= kLog2E;
        const Vector raw = logits;
        softmax(logits);
        for (int j = 0; j < n; j++) rank[j] += settings.sumLogits || group == 1 ? raw[j] : logits[j];
        approximate.push_back(logits);
      }
    }
    if (sparse && rankBy == sparq::Rank::Mass) {
      kept.clear();
      for (int j : masses->alive[head]) kept.push_back(j - first);
    } else if (sparse) {
      double none = 1e300;
      for (int j = 0; j < n && rankBy == sparq::Rank::Random; j++) rank[j] = randomScore(p.layer, head, position, first + j);
      const int older = rankBy == sparq::Rank::None ? n - (settings.k - sinks) : n - settings.local;
      kept.resize(sinks);
      const int most = settings.k - sinks - (n - older);
      for (int j : largest(Vector(rank.begin() + sinks, rank.begin() + older), older - sinks, most,
                           rankBy == sparq::Rank::Random ? none : row.margin)) {
        kept.push_back(sinks + j);
      }
      for (int j = older; j < n; j++) kept.push_back(j);
    }
    for (int h = 0; h < group; h++) {
      Vector weights;
      double alpha = 0;
      for (int j : kept) weights.push_back(dot(queries[h], keys[j]) * p.scale);
      softmax(weights);
      if (masses && position < settings.denseUntil) {
        masses->prompt[head].resize(position + 1);
        for (int j = 0; j < n; j++) masses->prompt[head][first + j] += weights[j];
      } else if (decodesByMass) {
        // Rows that attend densely see all of what is alive.
        for (size_t j = 0; j < kept.size(); j++) masses->mass[head][j] += weights[j];
      }
      double* out = &row.out[(head * group + h) * d];
      if (sparse && settings.meanValue) {
        for (int j : kept) alpha += approximate[h][j];
        for (int j = first; j <= position; j++) {
          for (int c = 0; c < d; c++) out[c] += (1 - alpha) / n * history.values[j][head * d + c];
        }
      } else {
        alpha = 1;
      }
      for (size_t i = 0; i < kept.size(); i++) {
        for (int c = 0; c < d; c++) out[c] += alpha * weights[i] * history.values[first + kept[i]][head * d + c];
      }
    }
  }
  return row;
}

// Threads that live for one run; slow and simple.
inline sparq::Pool threads(int count) {
  return {reinterpret_cast<void*>(static_cast<intptr_t>(count)),
          [](void* context, size_t n, void (*task)(void*, size_t), void* user) {
            std::atomic<size_t> next{0};
            const auto work = [&] {
              for (size_t i; (i = next.fetch_add(1)) < n;) task(user, i);
            };
            std::vector<std::thread> helpers;
            for (intptr_t t = 1; t < reinterpret_cast<intptr_t>(context); t++) helpers.emplace_back(work);
            work();
            for (auto& helper : helpers) helper.join();
          },
          count};
}

}  // namespace reference
