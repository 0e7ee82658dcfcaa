import { describe, expect, it } from "vitest";
import { loadAddon } from "../../attention/binding.ts";
import {
  type AttentionImplementation,
  Bench,
  blocks,
  type Fill,
  layerOf,
  projections,
  referenceImplementation,
  sparq,
} from "../contract/attention-fixture.ts";
import { maxDifference, readGoldenBytes, readGoldenJson } from "../support/golden.ts";

/** As test/oracle/sparq.py writes it: the reference is written by one hand, this by another, in torch. */
interface Case {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly positions: number;
  readonly r: number;
  readonly k: number;
  readonly local: number;
  readonly meanValue: boolean;
  readonly groupSum: "softmax" | "logits";
  readonly scale: number;
  readonly special: string;
  readonly offset: number;
}

const { cases } = readGoldenJson<{ cases: readonly Case[] }>("attention", "cases.json");
const data = new Float32Array(readGoldenBytes("attention", "data.bin"));
const addon = loadAddon();

function native(path: string): AttentionImplementation {
  return {
    name: path,
    threads: [1],
    createStore: (shape) => addon.createKvStore(shape),
    attend: (store, threads, input) => addon.attend(store, path, threads, input),
  };
}

/** The last position's output, the others being its context. */
function attend(implementation: AttentionImplementation, case_: Case): Float32Array {
  const { heads, kvHeads, headDim, positions, offset, r, k, local, meanValue, groupSum } = case_;
  const keys = offset + heads * headDim;
  const values = keys + positions * kvHeads * headDim;
  const fill: Fill = (position, part, head, component) => {
    if (part === "q") return position === positions - 1 ? data[offset + head * headDim + component]! : 0;
    return data[(part === "k" ? keys : values) + (position * kvHeads + head) * headDim + component]!;
  };
  const layer = layerOf(heads, kvHeads, headDim, { scale: case_.scale, rotaryDim: 0 });
  const settings = sparq(r, k, local, { meanValue, groupSum });
  const rows = projections(layer, positions, fill);
  const bench = new Bench(implementation, layer, 2);
  return bench.run({ rows, blockTable: blocks(2), settings }, positions - 1).out.at(-1)!;
}

function expected({ heads, kvHeads, headDim, positions, offset }: Case): Float32Array {
  const start = offset + (heads + 2 * positions * kvHeads) * headDim;
  return data.subarray(start, start + heads * headDim);
}

const named = cases.map((case_): [string, Case] => {
  const { heads, kvHeads, r, k, local, meanValue, groupSum, scale, special } = case_;
  const parts = [`${heads}/${kvHeads} heads, r ${r}, k ${k}, local ${local}, scale ${scale.toFixed(2)}`];
  if (meanValue) parts.push("mean value");
  if (heads > kvHeads) parts.push(`sum of ${groupSum}`);
  if (special) parts.push(special);
  return [parts.join(", "), case_];
});

it("covers grouped and single heads, both sums, mean value on and off", () => {
  const kinds = new Set(
    cases.map(({ heads, kvHeads, groupSum, meanValue }) => [heads / kvHeads, groupSum, meanValue].join()),
  );
  for (const kind of ["1,softmax,true", "1,softmax,false", "3,softmax,true", "3,logits,true", "3,logits,false"]) {
    expect(kinds).toContain(kind);
  }
});

describe.each(named)("SparQ of torch: %s", (_, case_) => {
  it("is what the reference computes", () => {
    expect(maxDifference(attend(referenceImplementation, case_), expected(case_))).toBeLessThanOrEqual(1e-6);
  });

  it.each(addon.availablePaths())("is what the %s kernels compute", (path) => {
    expect(maxDifference(attend(native(path), case_), expected(case_))).toBeLessThanOrEqual(1e-5);
  });
});
