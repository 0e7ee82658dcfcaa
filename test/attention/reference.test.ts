import { describe, expect, test } from "vitest";
import { SETTINGS_LENGTH } from "../../attention/pack.ts";
import { referenceAttend } from "../../attention/reference.ts";
import { ReferenceStore } from "../../attention/reference-store.ts";
import type { AttendInput } from "../../attention/types.ts";

/** A store of one layer and head, and one sequence in it. */
const storeOf = (headDim: number) => new ReferenceStore({ layers: 1, kvHeads: 1, headDim, blockSize: 4, blocks: 4 });

interface Options {
  /** The first of [mode, r, k, local, meanValue, sumLogits, denseUntil, bucketTopK, rank, sinks]; the rest 0. */
  readonly settings?: readonly number[];
  readonly contextLength?: number;
  readonly layer?: Partial<AttendInput>;
}

/** Rows are [queries of the group, key, value], flattened. */
function inputOf(headDim: number, rows: readonly (readonly number[])[], options: Options = {}): AttendInput {
  const contextLength = options.contextLength ?? 0;
  return {
    layer: 0,
    heads: rows[0]!.length / headDim - 2,
    kvHeads: 1,
    headDim,
    scale: 1,
    window: 0,
    rotaryDim: 0,
    interleaved: false,
    inverseFrequencies: new Float32Array(0),
    ropeScale: 1,
    qkv: Float32Array.from(rows.flat()),
    rowStarts: Int32Array.of(0, rows.length),
    contextLengths: Int32Array.of(contextLength),
    blockTables: Int32Array.of(2, 0, 3, 1),
    blockTableStarts: Int32Array.of(0, 4),
    settings: Int32Array.from({ length: SETTINGS_LENGTH }, (_, i) => (options.settings ?? [0, 1, 1])[i] ?? 0),
    ...options.layer,
  };
}

function outputs(headDim: number, rows: readonly (readonly number[])[], options: Options = {}): number[][] {
  const { out } = referenceAttend(storeOf(headDim), inputOf(headDim, rows, options));
  const width = (rows[0]!.length / headDim - 2) * headDim;
  return rows.map((_, i) => [...out.slice(i * width, (i + 1) * width)]);
}

const close = (actual: readonly number[], expected: readonly number[]) => {
  expect(actual.length).toBe(expected.length);
  for (const [i, x] of expected.entries()) expect(actual[i]).toBeCloseTo(x, 6);
};

describe("dense", () => {
  test("one position gets its own value", () => {
    expect(outputs(2, [[5, -3, 1, 2, 0.5, 0.25]])).toEqual([[0.5, 0.25]]);
  });

  test("two positions, by hand", () => {
    // Logits 0 and ln 3: weights 1/4 and 3/4.
    const rows = [
      [0, 0, 0, 0, 8, 0],
      [1, 0, Math.log(3), 0, 0, 8],
    ];
    close(outputs(2, rows)[1]!, [2, 6]);
  });

  test("the scale multiplies the logits", () => {
    const rows = [
      [0, 0, 0, 0, 8, 0],
      [1, 0, 2 * Math.log(3), 0, 0, 8],
    ];
    close(outputs(2, rows, { layer: { scale: 0.5 } })[1]!, [2, 6]);
  });

  test("equals textbook attention on a matrix", () => {
    const [length, headDim] = [11, 3];
    const number = (i: number, salt: number) => Math.fround(Math.sin(i * 12.9898 + salt * 78.233));
    const matrix = (salt: number) =>
      Array.from({ length }, (_, i) => Array.from({ length: headDim }, (_, c) => number(i * headDim + c, salt)));
    const [q, k, v] = [matrix(1), matrix(2), matrix(3)];
    // softmax(Q Kᵀ scale + causal mask) V
    const expected = q.map((query, i) => {
      const logits = k.map((key, j) =>
        j > i ? Number.NEGATIVE_INFINITY : 0.7 * query.reduce((s, x, c) => s + x * key[c]!, 0),
      );
      const weights = logits.map(Math.exp);
      const total = weights.reduce((a, b) => a + b);
      return query.map((_, c) => weights.reduce((s, w, j) => s + (w / total) * v[j]![c]!, 0));
    });
    const rows = q.map((query, i) => [...query, ...k[i]!, ...v[i]!]);
    const actual = outputs(headDim, rows, { layer: { scale: 0.7 } });
    for (const [i, row] of expected.entries()) close(actual[i]!, row);
  });

  test("a window hides what is older", () => {
    const rows = [1, 2, 4, 8, 16].map((value) => [0, 0, value]);
    const sums = outputs(1, rows, { layer: { window: 2 } }).map(([x]) => x);
    expect(sums).toEqual([1, 1.5, 3, 6, 12]);
  });

  test("the heads of a group share the key and the value", () => {
    // Head 0 asks for position 0, head 1 for position 1.
    const rows = [
      [0, 0, 0, 0, 30, 0, 1, 0],
      [1, 0, 0, 1, 0, 30, 0, 1],
    ];
    close(outputs(2, rows)[1]!, [1, 0, 0, 1]);
  });
});

describe("rope", () => {
  const turn = { rotaryDim: 2, inverseFrequencies: Float32Array.of(Math.PI / 2) };

  test("makes the logit depend on the distance only, and turns by position times frequency", () => {
    // Equal keys; a quarter turn apart the logit is 0, half a turn -x.
    const x = Math.log(3);
    const rows = [0, 1, 2].map((i) => [1, 0, x, 0, i === 0 ? 1 : 0, i === 1 ? 1 : 0]);
    const weights = [Math.exp(-x), Math.exp(0), Math.exp(x)];
    const total = weights.reduce((a, b) => a + b);
    close(outputs(2, rows, { layer: turn })[2]!, [weights[0]! / total, weights[1]! / total]);
  });

  test("pairs halves or neighbours, leaves the rest, and scales", () => {
    const stored = (layer: Partial<AttendInput>) => {
      const store = storeOf(6);
      const row = [0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0];
      referenceAttend(store, inputOf(6, [row], { contextLength: 1, layer }));
      return [...store.at(0, 2, 0, 1).key];
    };
    const quarter = { rotaryDim: 4, inverseFrequencies: Float32Array.of(Math.PI / 2, 0) };
    close(stored(quarter), [-3, 2, 1, 4, 5, 6]);
    close(stored({ ...quarter, interleaved: true }), [-2, 1, 3, 4, 5, 6]);
    close(stored({ ...quarter, ropeScale: 2 }), [-6, 4, 2, 8, 5, 6]);
  });
});

describe("SparQ", () => {
  /** Four positions, then a fifth that decodes with query (2, 1): r = 1 looks at the first component only. */
  const rows = [
    [0, 0, 2, -9, 1, 0],
    [0, 0, 0, 9, 0, 1],
    [0, 0, 1, 0, 1, 1],
    [0, 0, -2, 0, 4, 0],
    [2, 1, 0, 0, 0, 4],
  ];
  const last = (settings: readonly number[], more: Partial<AttendInput> = {}) =>
    outputs(2, rows, { settings: [...settings, 4, 0], layer: more }).at(-1)!;

  test("by hand: r = 1, k = 2, without the mean value", () => {
    // q0 K0 = 4, 0, 2, -4, 0: positions 0 and 2 are kept; exact logits 4 - 9 = -5 and 2.
    const w = 1 / (1 + Math.exp(7));
    close(last([1, 1, 2, 0, 0, 0]), [w + (1 - w), 1 - w]);
  });

  test("by hand: the mean value takes the mass left out, at the temperature sqrt(2/3)", () => {
    const hat = [4, 0, 2, -4, 0].map((x) => Math.exp(x / Math.sqrt(2 / 3)));
    const alpha = (hat[0]! + hat[2]!) / hat.reduce((a, b) => a + b);
    const w = 1 / (1 + Math.exp(7));
    close(last([1, 1, 2, 0, 1, 0]), [alpha + (1 - alpha) * (6 / 5), alpha * (1 - w) + (1 - alpha) * (6 / 5)]);
  });

  test("by hand: the last position is kept though others score better", () => {
    // Positions 0 (best) and 4 (local): exact logits -5 and 0.
    const w = 1 / (1 + Math.exp(5));
    close(last([1, 1, 2, 1, 0, 0]), [w, 4 * (1 - w)]);
  });

  test("equal scores: the lower position", () => {
    // k = 3 keeps 0, 2 and one of 1 and 4, which tie at 0: 1.
    const w = [-5, 9, 2].map(Math.exp);
    const total = w.reduce((a, b) => a + b);
    close(last([1, 1, 3, 0, 0, 0]), [(w[0]! + w[2]!) / total, (w[1]! + w[2]!) / total]);
  });

  test("is dense up to k visible positions, and below denseUntil", () => {
    const whole = outputs(2, rows).at(-1)!;
    expect(last([1, 1, 5, 0, 1, 0])).toEqual(whole);
    expect(outputs(2, rows, { settings: [1, 1, 2, 0, 1, 0, 5, 0] }).at(-1)).toEqual(whole);
    expect(last([1, 1, 3, 0, 1, 0], { window: 3 })).toEqual(outputs(2, rows, { layer: { window: 3 } }).at(-1));
  });

  test("reports how close its choices were", () => {
    const input = inputOf(2, rows, { settings: [1, 1, 2, 0, 0, 0, 4, 0] });
    const { margins } = referenceAttend(storeOf(2), input);
    // Components 2 and 1, of at most 2; then logits 2 and 0 (times the temperature), of at most 4.
    expect([...margins.slice(0, 4)]).toEqual([1, 1, 1, 1].map(() => Number.POSITIVE_INFINITY));
    expect(margins[4]).toBeCloseTo(0.5, 12);
  });

  test("counts what it reads", () => {
    const store = storeOf(2);
    const settings = [1, 1, 2, 0, 1, 0, 4, 0];
    const dense = 4 * 2 * 2 * (1 + 2 + 3 + 4);
    expect(referenceAttend(store, inputOf(2, rows.slice(0, 4), { settings })).traffic).toEqual({
      scoreBytes: 0,
      gatherBytes: 0,
      denseBytes: dense,
      denseEquivalentBytes: dense,
    });
    // Five positions on two pages of four.
    expect(referenceAttend(store, inputOf(2, rows.slice(4), { settings, contextLength: 4 })).traffic).toEqual({
      scoreBytes: 4 * (4 * 1 + 1 * 2), // one component of the first page's keys, both of the last key
      gatherBytes: 4 * (2 * 2 * 2 + 2 * 2),
      denseBytes: 0,
      denseEquivalentBytes: 4 * 2 * 2 * 5,
    });
  });
});
