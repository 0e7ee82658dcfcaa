import { describe, expect, it } from "vitest";
import { cacheBytesOf, leastMs, weightBytesOf } from "../../../bench/sweep/bytes.ts";
import { middleOf } from "../../../bench/sweep/measure.ts";
import { parts, type Split, splitOf } from "../../../bench/sweep/parts.ts";
import { blocksOf, cellsOf, fitting, sourceBlocks } from "../../../bench/sweep/plan.ts";
import type { PreparedModel } from "../../../models/types.ts";

describe("cells", () => {
  it("are all contexts of one batch after the other", () => {
    expect(cellsOf([512, 1024], [1, 8])).toEqual([
      { context: 512, batch: 1 },
      { context: 1024, batch: 1 },
      { context: 512, batch: 8 },
      { context: 1024, batch: 8 },
    ]);
  });

  it("have a block for the position that is decoded", () => {
    expect(blocksOf({ context: 256, batch: 3 }, 128)).toBe(9);
    expect(blocksOf({ context: 257, batch: 3 }, 128)).toBe(9);
    expect(blocksOf({ context: 383, batch: 1 }, 128)).toBe(3);
  });

  it("begin with a text that is as long as the contexts and the model allow", () => {
    expect(sourceBlocks(cellsOf([512, 32_768], [1]), 128, 8192)).toBe(16);
    expect(sourceBlocks(cellsOf([512], [1]), 128, 8192)).toBe(4);
    expect(sourceBlocks(cellsOf([32_768], [1]), 128, 1000)).toBe(7);
    expect(sourceBlocks(cellsOf([9], [1]), 128, 100)).toBe(1);
  });

  it("are left out, with the numbers, where the memory does not hold them", () => {
    const size = { blockSize: 128, bytesPerBlock: 1e6 };
    const cells = cellsOf([1280, 12_800], [1, 10]);
    // 10 or 100 blocks and one for each sequence, beside 16 of the text, the weights twice and a working gigabyte.
    const rest = 16e6 + 2e8 + 2 ** 30;
    expect(fitting(cells, size, 1e8, rest + 110e6)).toEqual({
      cells: cells.slice(0, 3),
      skipped: [{ what: "context 12800, batch 10", reason: "needs 2.3 GB of memory, 1.4 GB are available" }],
    });
    expect(fitting(cells, size, 1e8, rest + 1010e6).skipped).toEqual([]);
    expect(fitting(cells, size, 1e8, rest).cells).toEqual([]);
  });
});

describe("the model of bytes", () => {
  const model = (tiedHead: boolean) =>
    ({
      config: { tiedHead, vocabSize: 1000, hiddenSize: 10 },
      report: { weightBytes: 500_000, parameters: 100_000 },
    }) as unknown as PreparedModel;

  it("counts all weights, but an embedding of which a row is read", () => {
    expect(weightBytesOf(model(true))).toBe(500_000);
    expect(weightBytesOf(model(false))).toBe(450_000);
  });

  it("counts what the algorithm reads of the cache, and divides by the bandwidth", () => {
    const traffic = { scoreBytes: 1, gatherBytes: 20, denseBytes: 300, denseEquivalentBytes: 9000 };
    expect(cacheBytesOf(traffic)).toBe(321);
    expect(leastMs(2e9, 20e9)).toBe(100);
  });
});

describe("the parts of a step", () => {
  const times = { linears: 0.004, append: 0.0002, scan: 0.002, topK: 0.001, gather: 0.003, dense: 0.004, other: 0 };
  const output = {
    ...{ logits: [], sampled: [], hidden: [] },
    traffic: { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 },
    ...{ seconds: 0.012, attentionSeconds: 0.006, samplingSeconds: 0.0005, times },
  };

  it("are the step, with the threads' sums shared out and the rest of attention as waiting", () => {
    const split = splitOf(output, 13, 2);
    expect(Object.keys(split)).toEqual([...parts]);
    expect(split).toMatchObject({ linears: 4, "score pass": 1, "top-k": 0.5, gather: 1.5, "dense attention": 2 });
    expect(split.waiting).toBeCloseTo(6 - 5.1, 9);
    expect(split["rest of graph"]).toBeCloseTo(1.5, 9);
    expect(split.server).toBeCloseTo(1, 9);
    expect(Object.values(split).reduce((sum, value) => sum + value, 0)).toBeCloseTo(13, 9);
  });

  it("need a step that was timed", () => {
    const { times: _, ...untimed } = output;
    expect(() => splitOf(untimed, 13, 2)).toThrow("the step was not timed");
  });

  it("of a round are those of its middle step", () => {
    const step = (ms: number) => ({ ms, split: { linears: ms } as unknown as Split });
    expect(middleOf([5, 1, 9].map(step))).toEqual(step(5));
    expect(middleOf([5, 1, 9, 7].map(step))).toEqual(step(5));
    expect(middleOf([step(3)])).toEqual(step(3));
  });
});
