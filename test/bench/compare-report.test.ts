import { describe, expect, it } from "vitest";
import { memoryNeed, requireMemory } from "../../bench/compare/memory.ts";
import {
  type CompareReport,
  compareResult,
  formatReport,
  prefillRatiosOf,
  prefillResult,
  ratiosOf,
} from "../../bench/compare/report.ts";
import { tokenIds } from "../../bench/compare/tokens.ts";

function cell(system: string, variant: string, context: number, batch: number) {
  return { system, variant, context, batch };
}

describe("results", () => {
  it("are medians over all steps, with the rounds' own beside them", () => {
    const result = compareResult(cell("sparq", "dense", 512, 4), [
      [4, 5, 100],
      [5, 6, 7],
    ]);
    expect(result).toMatchObject({ msPerStep: 5.5, tokensPerSecond: 4000 / 5.5, roundMedians: [5, 6] });
    expect(result.p10).toBeLessThan(5);
    expect(result.p90).toBeGreaterThan(7);
  });

  it("of prefill are medians of rounds", () => {
    const result = prefillResult("sparq", 1000, [3, 2, 10]);
    expect(result).toMatchObject({ seconds: 3, tokensPerSecond: 1000 / 3, rounds: [3, 2, 10] });
  });
});

describe("ratios", () => {
  const results = [512, 2048].flatMap((context) =>
    [1, 8].flatMap((batch) => [
      compareResult(cell("sparq", "sparq", context, batch), [[2 * batch]]),
      compareResult(cell("sparq", "dense", context, batch), [[4 * batch]]),
      compareResult(cell("llama.cpp", "dense", context, batch), [[(context / 64) * batch]]),
    ]),
  );

  it("are the peer's time over sparq's for each context and batch", () => {
    expect(ratiosOf(results, "llama.cpp")).toEqual([
      { context: 512, batch: 1, sparq: 4, dense: 2 },
      { context: 512, batch: 8, sparq: 4, dense: 2 },
      { context: 2048, batch: 1, sparq: 16, dense: 8 },
      { context: 2048, batch: 8, sparq: 16, dense: 8 },
    ]);
  });

  it("are none without the peer", () => {
    const own = results.filter(({ system }) => system === "sparq");
    expect(ratiosOf(own, "llama.cpp")).toEqual([]);
  });

  it("of prefill have the same direction", () => {
    const prefill = [prefillResult("sparq", 2048, [2]), prefillResult("llama.cpp", 2048, [3])];
    expect(prefillRatiosOf(prefill, "llama.cpp")).toEqual([{ context: 2048, dense: 1.5 }]);
  });

  it("stand in the table beside sparq's rows only", () => {
    const prefill = [prefillResult("sparq", 512, [2]), prefillResult("llama.cpp", 512, [3])];
    const ratio = ratiosOf(results, "llama.cpp");
    const report = { results, ratio, prefill, prefillRatio: prefillRatiosOf(prefill, "llama.cpp") };
    const lines = formatReport(report as unknown as CompareReport).split("\n");
    expect(lines).toContain("| 2048 | 8 | sparq | sparq | 16.00 | 16.00 - 16.00 | 500.0 | 16.00x |");
    expect(lines).toContain("| 2048 | 8 | llama.cpp | dense | 256.00 | 256.00 - 256.00 | 31.3 |  |");
    expect(lines).toContain("| 512 | sparq | 2.00 | 256 | 1.50x |");
    expect(lines).toContain("| 512 | llama.cpp | 3.00 | 171 |  |");
  });
});

describe("memory", () => {
  const request = {
    context: 8192,
    batch: 8,
    steps: 16,
    blockSize: 64,
    bytesPerBlock: 1e6,
    peerBytesPerToken: 1e3,
    weightBytes: 1e8,
  };

  it("counts pages of each sequence and one more, and the peer's padded streams", () => {
    const { sparq, peer, rest, total } = memoryNeed(request);
    expect(sparq).toBe((8 * 129 + 1) * 1e6);
    expect(peer).toBe(8 * 8448 * 1e3);
    expect(total).toBe(sparq + peer + rest);
    expect(memoryNeed({ ...request, peerBytesPerToken: 0 }).peer).toBe(0);
  });

  it("that is not there is refused with the numbers", () => {
    const { total } = memoryNeed(request);
    expect(() => requireMemory(request, total)).not.toThrow();
    expect(() => requireMemory(request, total - 1)).toThrow(
      /^context 8192 x batch 8 needs 2\.6 GB .*1\.0 GB for sparq's cache, 0\.1 GB for the peer's.* 2\.6 GB are available/,
    );
  });
});

describe("random tokens", () => {
  it("are valid, repeatable, and others with another seed", () => {
    const ids = tokenIds(1000, 300, 1);
    expect(ids).toEqual(tokenIds(1000, 300, 1));
    expect(ids).not.toEqual(tokenIds(1000, 300, 2));
    expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < 300)).toBe(true);
    expect(new Set(ids).size).toBeGreaterThan(250);
  });
});
