/**
 * The attention, stated plainly: what the kernels of native/ must compute, in float64 and without regard to speed.
 * SparQ is Algorithm 1 of arXiv 2312.04985v6 with its appendix on grouped-query attention.
 */
import { SETTINGS_LENGTH } from "./pack.ts";
import { addDecodeRow, addPromptRow, beginRow, keepByMass, type MassState } from "./reference-mass.ts";
import { dot, softmax, sum, type Vector, weighted } from "./reference-math.ts";
import { observe, type Place, randomScore, recent } from "./reference-ranks.ts";
import type { Cell, ReferenceStore } from "./reference-store.ts";
import { type Narrow, top, topOfBuckets } from "./reference-top.ts";
import { type AttendInput, type AttendOutput, type Rank, ranks } from "./types.ts";

/** `margins`: per row, how far its selections were from choosing otherwise, relative to the largest score (see `top`). */
export function referenceAttend(store: ReferenceStore, input: AttendInput): AttendOutput & { margins: Float64Array } {
  const { layer, heads, kvHeads, headDim, window, rowStarts, blockTableStarts } = input;
  const { blockSize } = store.shape;
  const group = heads / kvHeads;
  const rows = rowStarts.at(-1)!;
  const out = new Float32Array(rows * heads * headDim);
  const margins = new Float64Array(rows).fill(Number.POSITIVE_INFINITY);
  const traffic = { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 };
  const observed = { rows: 0, recall: 0, massKept: 0, alpha: 0 };
  const element = (row: number, column: number): Vector => {
    const start = (row * (heads + 2 * kvHeads) + column) * headDim;
    return Float64Array.from(input.qkv.subarray(start, start + headDim));
  };
  const located = (s: number, position: number, head: number) => {
    const block = input.blockTables[blockTableStarts[s]! + Math.floor(position / blockSize)]!;
    return store.at(layer, block, head, position % blockSize);
  };
  const masses = [...input.contextLengths].map((length, s) =>
    store.mass?.of(layer, input.blockTables[blockTableStarts[s]!]!, length),
  );
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
    const settings = settingsOf(input.settings.subarray(s * SETTINGS_LENGTH, (s + 1) * SETTINGS_LENGTH));
    const { k, rank } = settings;
    const first = window > 0 ? Math.max(0, position + 1 - window) : 0;
    const cells = Array.from({ length: position + 1 - first }, (_, j) => located(s, first + j, head));
    const queries = Array.from({ length: group }, (_, h) => rope(element(row, head * group + h), position, input));
    const narrow = (gap: number) => (margins[row] = Math.min(margins[row]!, gap));
    const denseBytes = 4 * 2 * cells.length * headDim;
    traffic.denseEquivalentBytes += denseBytes;
    const sparse = settings.sparse && position >= settings.denseUntil && cells.length > k;
    const of: Row = { layer, head, position, first, queries, cells, scale: input.scale };
    const mass = track(masses[s], of, settings, narrow, head === kvHeads - 1);
    let results: Vector[];
    if (!sparse) {
      traffic.denseBytes += denseBytes;
      results = queries.map((q) => attendDense(q, cells, input.scale));
    } else {
      const pages = Math.floor(position / blockSize) - Math.floor(first / blockSize) + 1;
      // Of the row's own page the keys are read whole.
      const own = Math.min((position % blockSize) + 1, cells.length);
      const scored = {
        sparq: (cells.length - own) * settings.r + own * headDim,
        exact: cells.length * headDim,
        none: 0,
        random: 0,
        mass: k,
      };
      traffic.scoreBytes += 4 * scored[rank];
      traffic.gatherBytes += 4 * headDim * ((rank === "exact" ? 1 : 2) * k + (settings.meanValue ? pages : 0));
      const choice = mass ?? choose(of, settings, narrow);
      results = attendSparse(of, settings, choice);
      if (input.observe) {
        const seen = observe(queries, cells, input.scale, choice.kept, choice.alpha);
        observed.rows += 1 / kvHeads;
        for (const field of ["recall", "massKept", "alpha"] as const) observed[field] += seen[field] / kvHeads;
      }
    }
    for (const [h, result] of results.entries()) out.set(result, (row * heads + head * group + h) * headDim);
  });
  return { out, traffic, margins, ...(input.observe ? { observed } : {}) };
}

interface SparseSettings {
  readonly sparse: boolean;
  readonly r: number;
  readonly k: number;
  readonly local: number;
  readonly meanValue: boolean;
  readonly sumLogits: boolean;
  readonly denseUntil: number;
  readonly perBucket: number;
  readonly rank: Rank;
  readonly sinks: number;
}

function settingsOf(flat: Int32Array): SparseSettings {
  const [mode, r, k, local, meanValue, sumLogits, denseUntil, perBucket, rank, sinks] = flat as unknown as number[];
  return {
    sparse: mode === 1,
    r: r!,
    k: k!,
    local: local!,
    meanValue: meanValue === 1,
    sumLogits: sumLogits === 1,
    denseUntil: denseUntil!,
    perBucket: perBucket!,
    rank: ranks[rank!]!,
    sinks: sinks!,
  };
}

/** One KV head's row: its place, the first position it sees, its group's queries, and what it sees. */
interface Row extends Place {
  readonly first: number;
  readonly queries: readonly Vector[];
  readonly cells: readonly Cell[];
  readonly scale: number;
}

/** What a sparse row attends to, counted from the first that it sees, and for each query head the mass it takes that to have. */
interface Choice {
  readonly kept: readonly number[];
  readonly alpha: readonly number[];
}

function attendDense(q: Vector, cells: readonly Cell[], scale: number): Vector {
  return weighted(exactScores(q, cells, scale), cells);
}

function exactScores(q: Vector, cells: readonly Cell[], scale: number): number[] {
  return softmax(cells.map(({ key }) => dot(q, key) * scale));
}

/** Exact attention over what is kept; the mass that this leaves out goes to the mean of V (SparQ's step 3). */
function attendSparse(
  { queries, cells, scale }: Row,
  { meanValue }: SparseSettings,
  { kept, alpha }: Choice,
): Vector[] {
  const keptCells = kept.map((j) => cells[j]!);
  const exact = queries.map((q) => attendDense(q, keptCells, scale));
  if (!meanValue) return exact;
  const mean = weighted(new Array(cells.length).fill(1 / cells.length), cells);
  return exact.map((y, h) => y.map((x, c) => alpha[h]! * x + (1 - alpha[h]!) * mean[c]!));
}

/** SparQ's step 2, or what stands in its place: the k best, among them the first `sinks` and the last `local`. */
function choose(row: Row, settings: SparseSettings, narrow: Narrow): Choice {
  const { queries, cells, first, scale } = row;
  const { k, local } = settings;
  const sinks = Math.max(0, Math.min(settings.sinks - first, k - local));
  const certain = queries.map(() => 1);
  if (settings.rank === "none") return { kept: recent(cells.length, k, sinks), alpha: certain };
  const older = cells.length - local;
  const best = (rank: number[], gap: Narrow) => {
    const chosen = topOfBuckets(rank.slice(sinks, older), k - local - sinks, settings.perBucket, gap);
    const places = [...cells.keys()];
    return [...places.slice(0, sinks), ...chosen.map((j) => j + sinks), ...places.slice(older)];
  };
  if (settings.rank === "random") {
    return {
      kept: best(
        [...cells.keys()].map((j) => randomScore(row, first + j)),
        () => {},
      ),
      alpha: certain,
    };
  }
  const logits =
    settings.rank === "exact"
      ? queries.map((q) => cells.map(({ key }) => dot(q, key) * scale))
      : approximateLogits(row, settings, narrow);
  const scores = logits.map(softmax);
  // For one query the logits rank as the scores do, and do not underflow.
  const ranking = settings.sumLogits || queries.length === 1 ? logits : scores;
  const kept = best(
    cells.map((_, j) => sum(ranking.map((x) => x[j]!))),
    narrow,
  );
  return { kept, alpha: scores.map((x) => sum(kept.map((j) => x[j]!))) };
}

/** SparQ's step 1: logits from the r components in which the group's queries are largest, i1. */
function approximateLogits({ queries, cells, scale }: Row, { r }: SparseSettings, narrow: Narrow): number[][] {
  const magnitude = Array.from(queries[0]!, (_, c) => sum(queries.map((q) => Math.abs(q[c]!))));
  const i1 = top(magnitude, r, narrow);
  return queries.map((q) => {
    const coverage = sum(i1.map((c) => Math.abs(q[c]!))) / sum(Array.from(q, Math.abs));
    const factor = coverage > 0 ? scale / Math.sqrt(coverage) : 0; // nothing covered, or q = 0: all scores are equal
    return cells.map(({ key }) => sum(i1.map((c) => q[c]! * key[c]!)) * factor);
  });
}

/**
 * Takes a row into the masses, if they are kept. Of a decode row with rank "mass", also one that attends densely, gives what
 * it keeps. `last`: the row's last KV head.
 */
function track(state: MassState | undefined, row: Row, settings: SparseSettings, narrow: Narrow, last: boolean) {
  const { position, first, head, queries, cells, scale } = row;
  if (position < settings.denseUntil) {
    if (state?.promptEnd !== position) return undefined;
    addPromptRow(
      state,
      head,
      first,
      queries.map((q) => exactScores(q, cells, scale)),
    );
    if (last) state.promptEnd++;
    return undefined;
  }
  if (!settings.sparse || settings.rank !== "mass") return undefined;
  const known = head === 0 ? beginRow(state, position) : state!;
  const kept = keepByMass(known, head, { ...settings, position, first }).map((p) => p - first);
  narrow(known.margin);
  const keptCells = kept.map((j) => cells[j]!);
  addDecodeRow(
    known,
    head,
    queries.map((q) => exactScores(q, keptCells, scale)),
  );
  if (last) known.end = position + 1;
  return { kept, alpha: queries.map(() => 1) };
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
