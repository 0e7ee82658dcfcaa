// For the native tests: the attention of attention.h once more, as plainly as possible and in double, over whole
// sequences without pages; and a thread pool.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <thread>
#include <vector>

#include "attention.h"

namespace reference {

using Vector = std::vector<double>;

struct Model {
  sparq::LayerParams params;
  std::vector<float> inverseFrequencies;
};

// One sequence's projections, float rows [heads or kvHeads][headDim] by position.
struct History {
  std::vector<std::vector<float>> q, k, v;
  std::vector<std::vector<double>> keys;  // k after rope, see rotateKeys
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

inline void rotateKeys(const Model& model, History& history) {
  const int d = model.params.headDim;
  history.keys.clear();
  for (size_t j = 0; j < history.k.size(); j++) {
    Vector row;
    for (int head = 0; head < model.params.kvHeads; head++) {
      const Vector key = rotated(model, &history.k[j][head * d], static_cast<int>(j));
      row.insert(row.end(), key.begin(), key.end());
    }
    history.keys.push_back(row);
  }
}

inline double dot(const Vector& a, const double* b) { return std::inner_product(a.begin(), a.end(), b, 0.0); }

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

inline Row attend(const Model& model, const sparq::Settings& settings, const History& history, int position) {
  const auto& p = model.params;
  const int d = p.headDim, group = p.heads / p.kvHeads;
  const int first = p.window > 0 ? std::max(0, position + 1 - p.window) : 0, n = position + 1 - first;
  const bool sparse = settings.mode == int(sparq::Mode::Sparq) && position >= settings.denseUntil && n > settings.k;
  Row row;
  row.out.resize(size_t(p.heads) * d);
  for (int head = 0; head < p.kvHeads; head++) {
    std::vector<const double*> keys;
    std::vector<Vector> queries;
    for (int j = first; j <= position; j++) keys.push_back(&history.keys[j][head * d]);
    for (int h = 0; h < group; h++) queries.push_back(rotated(model, &history.q[position][(head * group + h) * d], position));
    std::vector<int> kept(n);
    std::iota(kept.begin(), kept.end(), 0);
    std::vector<Vector> approximate;
    if (sparse) {
      Vector magnitude(d), rank(n);
      for (const Vector& q : queries) {
        for (int c = 0; c < d; c++) magnitude[c] += std::fabs(q[c]);
      }
      const std::vector<int> components = largest(magnitude, d, settings.r, row.margin);
      for (const Vector& q : queries) {
        double all = 0, some = 0;
        for (double x : q) all += std::fabs(x);
        for (int c : components) some += std::fabs(q[c]);
        Vector logits(n);
        for (int j = 0; j < n; j++) {
          for (int c : components) logits[j] += q[c] * keys[j][c];
          logits[j] *= some > 0 ? p.scale / std::sqrt(some / all) : 0;
        }
        const Vector raw = logits;
        softmax(logits);
        for (int j = 0; j < n; j++) rank[j] += settings.sumLogits || group == 1 ? raw[j] : logits[j];
        approximate.push_back(logits);
      }
      kept = largest(rank, n - settings.local, settings.k - settings.local, row.margin);
      for (int j = n - settings.local; j < n; j++) kept.push_back(j);
    }
    for (int h = 0; h < group; h++) {
      Vector weights;
      double alpha = 0;
      for (int j : kept) weights.push_back(dot(queries[h], keys[j]) * p.scale);
      softmax(weights);
      double* out = &row.out[(head * group + h) * d];
      if (sparse && settings.meanValue) {
        for (int j : kept) alpha += approximate[h][j];
        for (int j = first; j <= position; j++) {
          for (int c = 0; c < d; c++) out[c] += (1 - alpha) / n * history.v[j][head * d + c];
        }
      } else {
        alpha = 1;
      }
      for (size_t i = 0; i < kept.size(); i++) {
        for (int c = 0; c < d; c++) out[c] += alpha * weights[i] * history.v[first + kept[i]][head * d + c];
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
