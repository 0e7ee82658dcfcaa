/**
 * The attention, stated plainly: what the kernels of native/ must compute, in float64 and without regard to speed.
 * SparQ is Algorithm 1 of arXiv 2312.04985v6 with its appendix on grouped-query attention.
 */
import type { Cell, ReferenceStore } from "./reference-store.ts";
import { type Narrow, top, topOfBuckets } from "./reference-top.ts";
import type { AttendInput, AttendOutput } from "./types.ts";

type Vector = Float64Array;

/** `margins`: per row, how far its selections were from choosing otherwise, relative to the largest score (see `top`). */
export function referenceAttend(store: ReferenceStore, input: AttendInput): AttendOutput & { margins: Float64Array } {
  const { layer, heads, kvHeads, headDim, window, rowStarts, blockTableStarts } = input;
  const group = heads / kvHeads;
  const rows = rowStarts.at(-1)!;
  const out = new Float32Array(rows * heads * headDim);
  const margins = new Float64Array(rows).fill(Number.POSITIVE_INFINITY);
  const traffic = { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 };
  const element = (row: number, column: number): Vector => {
    const start = (row * (heads + 2 * kvHeads) + column) * headDim;
    return Float64Array.from(input.qkv.subarray(start, start + headDim));
  };
  const located = (s: number, position: number, head: number) => {
    const block = input.blockTables[blockTableStarts[s]! + Math.floor(position / store.shape.blockSize)]!;
    return store.at(layer, block, head, position % store.shape.blockSize);
  };
  const eachRow = (visit: (row: number, position: number, sequence: number, kvHead: number) => void) => {
    for (const [s, contextLength] of input.contextLengths.entries()) {
      for (let row = rowStarts[s]!; row < rowStarts[s + 1]!; row++) {
        for (let head = 0; head < kvHeads; head++) visit(row, contextLength + row - rowStarts[s]!, s, head);
      }
    }
  };
  eachRow((row, position, s, head) => {
    const { key, value } = located(s, position, head);
    key.set(rope(element(row, heads + head), position, input));
    value.set(element(row, heads + kvHeads + head));
  });
  eachRow((row, position, s, head) => {
    const flat = input.settings.subarray(s * 8, s * 8 + 8) as unknown as number[];
    const [mode, r, k, local, meanValue, sumLogits, denseUntil, perBucket] = flat;
    const first = window > 0 ? Math.max(0, position + 1 - window) : 0;
    const cached = Array.from({ length: position + 1 - first }, (_, j) => located(s, first + j, head));
    const queries = Array.from({ length: group }, (_, h) => rope(element(row, head * group + h), position, input));
    const denseBytes = 4 * 2 * cached.length * headDim;
    traffic.denseEquivalentBytes += denseBytes;
    let results: Vector[];
    if (mode === 0 || position < denseUntil! || cached.length <= k!) {
      traffic.denseBytes += denseBytes;
      results = queries.map((q) => attendDense(q, cached, input.scale));
    } else {
      const pages = Math.floor(position / store.shape.blockSize) - Math.floor(first / store.shape.blockSize) + 1;
      // Of the row's own page the keys are read whole.
      const own = Math.min((position % store.shape.blockSize) + 1, cached.length);
      traffic.scoreBytes += 4 * ((cached.length - own) * r! + own * headDim);
      traffic.gatherBytes += 4 * headDim * (2 * k! + (meanValue ? pages : 0));
      const narrow = (gap: number) => (margins[row] = Math.min(margins[row]!, gap));
      const settings = {
        r: r!,
        k: k!,
        local: local!,
        meanValue: !!meanValue,
        sumLogits: !!sumLogits,
        perBucket: perBucket!,
      };
      results = attendSparq(queries, cached, input.scale, settings, narrow);
    }
    for (const [h, result] of results.entries()) out.set(result, (row * heads + head * group + h) * headDim);
  });
  return { out, traffic, margins };
}

function attendDense(q: Vector, cells: Cell[], scale: number): Vector {
  return weighted(softmax(cells.map(({ key }) => dot(q, key) * scale)), cells);
}

type Sparq = { r: number; k: number; local: number; meanValue: boolean; sumLogits: boolean; perBucket: number };

/** One KV head: the queries of its group over more than k visible positions. */
function attendSparq(queries: Vector[], cells: Cell[], scale: number, settings: Sparq, narrow: Narrow): Vector[] {
  // Step 1: approximate logits from the r components in which the group's queries are largest, i1.
  const magnitude = Array.from(queries[0]!, (_, c) => sum(queries.map((q) => Math.abs(q[c]!))));
  const i1 = top(magnitude, settings.r, narrow);
  const logits = queries.map((q) => {
    const coverage = sum(i1.map((c) => Math.abs(q[c]!))) / sum(Array.from(q, Math.abs));
    const factor = coverage > 0 ? scale / Math.sqrt(coverage) : 0; // nothing covered, or q = 0: all scores are equal
    return cells.map(({ key }) => sum(i1.map((c) => q[c]! * key[c]!)) * factor);
  });
  const scores = logits.map(softmax);
  // Step 2: exact attention over i2, the k best and among them the last `local`. (For one query the logits rank as the
  // scores do, and do not underflow.)
  const ranking = settings.sumLogits || queries.length === 1 ? logits : scores;
  const rank = cells.map((_, j) => sum(ranking.map((x) => x[j]!)));
  const older = cells.length - settings.local;
  const best = topOfBuckets(rank.slice(0, older), settings.k - settings.local, settings.perBucket, narrow);
  const i2 = [...best, ...[...cells.keys()].slice(older)];
  const kept = i2.map((j) => cells[j]!);
  const exact = queries.map((q) => attendDense(q, kept, scale));
  if (!settings.meanValue) return exact;
  // Step 3: the mass that i2 leaves out goes to the mean of V.
  const mean = weighted(new Array(cells.length).fill(1 / cells.length), cells);
  return exact.map((y, h) => {
    const alpha = sum(i2.map((j) => scores[h]![j]!));
    return y.map((x, c) => alpha * x + (1 - alpha) * mean[c]!);
  });
}

/** Rotates pairs of the leading rotaryDim components by position * frequency; the angle is a float32, as in the models. */
function rope(x: Vector, position: number, input: AttendInput): Vector {
  const y = x.slice();
  const half = input.rotaryDim / 2;
  for (let i = 0; i < half; i++) {
    const [a, b] = input.interleaved ? [2 * i, 2 * i + 1] : [i, i + half];
    const angle = Math.fround(position * input.inverseFrequencies[i]!);
    const [cos, sin] = [Math.cos(angle) * input.ropeScale, Math.sin(angle) * input.ropeScale];
    y[a] = x[a]! * cos - x[b]! * sin;
    y[b] = x[b]! * cos + x[a]! * sin;
  }
  return y;
}

const sum = (x: number[]) => x.reduce((total, e) => total + e, 0);

function dot(a: Vector, b: Vector): number {
  let total = 0;
  for (let c = 0; c < a.length; c++) total += a[c]! * b[c]!;
  return total;
}

function softmax(logits: number[]): number[] {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  const weights = logits.map((x) => Math.exp(x - largest));
  const total = sum(weights);
  return weights.map((w) => w / total);
}

function weighted(weights: number[], cells: Cell[]): Vector {
  const total = new Float64Array(cells[0]!.value.length);
  for (const [j, { value }] of cells.entries()) {
    for (let c = 0; c < value.length; c++) total[c] = total[c]! + weights[j]! * value[c]!;
  }
  return total;
}
