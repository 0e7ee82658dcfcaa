import { describe, expect, it } from "vitest";
import { interval, type Sample } from "../../server/page/app/stats.ts";

function sample(at: number, generated: number, [score, gather, dense, equivalent]: readonly number[]): Sample {
  const traffic = {
    score_bytes: score!,
    gather_bytes: gather!,
    dense_bytes: dense!,
    dense_equivalent_bytes: equivalent!,
  };
  const stats = {
    model: "m",
    context_length: 4096,
    head_size: 32,
    attention: { mode: "sparq" as const, r: 8, k: 256 },
    running: 1,
    waiting: 0,
    blocks: { total: 10, cached: 0, owned: 1 },
    generated_tokens: generated,
    speculation: { draft_tokens: 0, accepted_draft_tokens: 0 },
    traffic,
  };
  return { at, stats };
}

describe("interval", () => {
  it("takes differences: tokens a second, and bytes read against dense", () => {
    const between = interval(sample(1000, 10, [5, 5, 100, 100]), sample(1500, 30, [15, 25, 100, 200]));
    expect(between).toEqual({ tokensPerSecond: 40, read: 30, dense: 100, ratio: 0.3, seconds: 0.5 });
  });

  it("has no ratio if attention read nothing", () => {
    const idle = [1, 2, 3, 4];
    expect(interval(sample(0, 7, idle), sample(1000, 7, idle))).toMatchObject({ tokensPerSecond: 0, ratio: null });
  });

  it("is null over a restart of the server, and without time", () => {
    const before = sample(0, 7, [1, 2, 3, 4]);
    expect(interval(before, sample(1000, 0, [1, 2, 3, 4]))).toBeNull();
    expect(interval(before, sample(1000, 8, [0, 0, 3, 4]))).toBeNull();
    expect(interval(before, sample(0, 8, [1, 2, 3, 4]))).toBeNull();
  });
});
