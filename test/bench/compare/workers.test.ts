import { Tensor } from "onnxruntime-node";
import { expect, it } from "vitest";
import { type Decoder, DenseWorker, type Feeds } from "../../../bench/compare/workers/dense-worker.ts";
import { forBatch, repeatedTo } from "../../../bench/compare/workers/tensors.ts";
import { likeliest } from "../../../bench/compare/workers/worker.ts";

const VOCAB = 16;

/** Remembers tokens as its keys, [batch, 1, positions, 1], and finds the number of positions the likeliest. */
class Remembering implements Decoder {
  readonly versions = { remembering: "1" };
  readonly vocabSize = VOCAB;
  readonly layers = 1;
  readonly seen: { ids: number[]; past: number[]; positions: number[]; mask: readonly number[] }[] = [];

  async run({ inputIds, attentionMask, positionIds, past }: Feeds) {
    const numbers = (tensor: Tensor) => [...(tensor.data as BigInt64Array)].map(Number);
    const ids = numbers(inputIds);
    const [batch, rows] = inputIds.dims as [number, number];
    const before = past.get("past_key_values.0.key");
    const old = before === undefined ? [] : [...(before.data as Float32Array)];
    this.seen.push({ ids, past: old, positions: numbers(positionIds), mask: attentionMask.dims });
    const each = old.length / batch;
    const keys = Array.from({ length: batch }, (_, i) => [
      ...old.slice(i * each, (i + 1) * each),
      ...ids.slice(i * rows, (i + 1) * rows),
    ]);
    const logits = new Float32Array(batch * rows * VOCAB);
    for (let row = 0; row < batch * rows; row++) logits[row * VOCAB + Math.min(each + (row % rows), VOCAB - 1)] = 1;
    const key = new Tensor("float32", Float32Array.from(keys.flat()), [batch, 1, each + rows, 1]);
    return {
      logits: new Tensor("float32", logits, [batch, rows, VOCAB]),
      past: new Map([["past_key_values.0.key", key]]),
    };
  }
}

it("decodes each round behind what was filled, whatever rounds decoded before", async () => {
  const decoder = new Remembering();
  const worker = new DenseWorker(decoder);
  await worker.open();
  await worker.fill({ tokens: [5, 6, 7] });
  for (const batch of [2, 1, 2]) {
    const tokens = [1, 2, 3, 4].slice(0, 2 * batch);
    const { milliseconds, finite } = await worker.decode({ context: 3, batch, steps: 2, tokens });
    expect(milliseconds).toHaveLength(2);
    expect(finite).toBe(true);
  }
  expect(decoder.seen.slice(-2)).toEqual([
    { ids: [1, 2], past: [5, 6, 7, 5, 6, 7], positions: [3, 3], mask: [2, 4] },
    { ids: [3, 4], past: [5, 6, 7, 1, 5, 6, 7, 2], positions: [4, 4], mask: [2, 5] },
  ]);
  expect(await worker.check({ prompt: [9, 9, 9] })).toEqual({ top: [0, 1, 2], finite: true });
});

it("fills in chunks, and repeats the first one where no time is asked for", async () => {
  const decoder = new Remembering();
  const worker = new DenseWorker(decoder);
  const tokens = Array.from({ length: 1100 }, (_, i) => i);
  await worker.fill({ tokens });
  expect(decoder.seen.map(({ ids, past }) => [past.length, ids.length])).toEqual([
    [0, 512],
    [512, 512],
    [1024, 76],
  ]);
  await worker.refill({ tokens });
  await worker.decode({ context: 1100, batch: 1, steps: 1, tokens: [0] });
  const expected = tokens.map((_, i) => tokens[i % 512]!);
  expect(decoder.seen.at(-1)!.past).toEqual(expected);
});

it("keys and values keep their heads apart when they are repeated", () => {
  const past = new Map([["k", new Tensor("float32", Float32Array.from([1, 2, 3, 4, 5, 6, 7, 8]), [1, 2, 2, 2])]]);
  const long = repeatedTo(past, 3).get("k")!;
  expect(long.dims).toEqual([1, 2, 3, 2]);
  expect([...(long.data as Float32Array)]).toEqual([1, 2, 3, 4, 1, 2, 5, 6, 7, 8, 5, 6]);
  const two = forBatch(past, 2).get("k")!;
  expect(two.dims).toEqual([2, 2, 2, 2]);
  expect([...(two.data as Float32Array)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
});

it("the likeliest of rows, unless a logit is no number", () => {
  expect(likeliest(Float32Array.from([0, 3, 1, 5, 4, 4]), 3)).toEqual({ top: [1, 0], finite: true });
  expect(likeliest(Float32Array.from([0, Number.NaN]), 2).finite).toBe(false);
});
