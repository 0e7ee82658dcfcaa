import { describe, expect, it } from "vitest";
import { requestFigures, roundFigures } from "../../../bench/serve/metrics.ts";
import type { Timeline } from "../../../bench/serve/timeline.ts";
import { idleClient, timeline } from "./timelines.ts";

const expected = { outputTokens: 3, ignoreEos: true, usage: true };
const round = (timelines: Timeline[], rate = Infinity, objective?: { ttft?: number; tpot?: number; e2el?: number }) =>
  roundFigures(
    { timelines, client: idleClient },
    timelines.map(() => expected),
    rate,
    objective,
  );

describe("figures of a request", () => {
  it("are those of its timeline", () => {
    // Sent at 100; chunks at 130, 140, 160 with text, 162 with the finish_reason; usage and [DONE] until 170 do not count.
    const one = timeline({ sent: 100, chunks: [130, 140, 160, 162], ended: 170, completionTokens: 5 });
    expect(requestFigures(one)).toEqual({ ttft: 30, e2el: 62, itl: [10, 20, 2], tpot: 8, outputTokens: 5 });
  });

  it("take pieces of text for tokens where there is no usage", () => {
    const one = timeline({ chunks: [10, 20, 40], deltas: 3, completionTokens: null });
    expect(requestFigures(one)).toMatchObject({ tpot: 15, outputTokens: 3 });
  });

  it("have no time per output token where there is only one", () => {
    const one = timeline({ chunks: [10, 11], deltas: 1, completionTokens: 1 });
    expect(requestFigures(one)).toMatchObject({ ttft: 10, tpot: null, itl: [1] });
  });
});

describe("figures of a round", () => {
  // TTFT 10, 20, 30; E2EL 30, 80, 130; three tokens each, so TPOT 10, 30, 50.
  const three = [
    timeline({ sent: 0, chunks: [10, 30], ended: 40, deltas: 2 }),
    timeline({ sent: 20, chunks: [40, 100], ended: 100, deltas: 2, due: 15 }),
    timeline({ sent: 100, chunks: [130, 230], ended: 250, deltas: 2, due: 60 }),
  ];

  it("are sums over the time until the last end, and percentiles between neighbours", () => {
    const figures = round(three);
    expect(figures).toMatchObject({ requests: 3, failures: [], seconds: 0.25, requestThroughput: 12 });
    expect(figures).toMatchObject({ outputThroughput: 36, totalThroughput: 96, goodput: null, sentLate: null });
    expect(figures).toMatchObject({ inputTokens: 5, outputTokens: 3, cachedTokens: null, tokensPerDelta: 1.5 });
    expect(figures.latencies.ttft).toEqual({ mean: 20, median: 20, p90: 28, p99: 29.8 });
    expect(figures.latencies.tpot).toEqual({ mean: 30, median: 30, p90: 46, p99: 49.6 });
    expect(figures.latencies.itl).toMatchObject({ mean: 60, median: 60 });
    expect(figures.latencies.e2el).toMatchObject({ mean: 80, median: 80, p90: 120 });
  });

  it("count requests at the same time, of which one that ends makes place for another", () => {
    expect(round(three).peakConcurrency).toBe(2);
    expect(round(three.slice(1)).peakConcurrency).toBe(1);
  });

  it("tell how late requests were sent, against a rate", () => {
    expect(round(three, 10).sentLate).toBeCloseTo(5 + 0.98 * 35, 9);
  });

  it("count as good what meets every objective, its limit included", () => {
    const goodput = (objective: Parameters<typeof round>[2]) => round(three, Infinity, objective).goodput! * 0.25;
    expect(goodput({ ttft: 20 })).toBe(2);
    expect(goodput({ ttft: 30, tpot: 10 })).toBe(1);
    expect(goodput({ e2el: 129 })).toBe(2);
    expect(goodput({ ttft: 9 })).toBe(0);
  });

  it("call an answer of one token good for any time per token", () => {
    const one = timeline({ chunks: [10], deltas: 1, completionTokens: 1 });
    const figures = roundFigures(
      { timelines: [one], client: idleClient },
      [{ outputTokens: 1, ignoreEos: true, usage: true }],
      Infinity,
      { tpot: 1 },
    );
    expect(figures.goodput! * figures.seconds).toBe(1);
    expect(figures.latencies.tpot).toBeNull();
    expect(figures.latencies.itl).toBeNull();
  });

  it("leave what failed out of times and tokens, not out of the count and the time of the round", () => {
    const fault = { kind: "HTTP 500", detail: "no" };
    const failed = timeline({ sent: 0, ended: 500, chunks: [], fault, completionTokens: null, promptTokens: null });
    const figures = round([...three, failed], Infinity, { ttft: 1000 });
    expect(figures.failures).toEqual([fault]);
    expect(figures).toMatchObject({
      requests: 4,
      seconds: 0.5,
      requestThroughput: 6,
      goodput: 6,
      outputThroughput: 18,
    });
    expect(figures.latencies.ttft!.median).toBe(20);
    expect(figures.inputTokens).toBe(5);
  });

  it("know what cannot be known", () => {
    const failed = timeline({ fault: { kind: "timeout", detail: "" } });
    expect(round([failed])).toMatchObject({
      latencies: { ttft: null, e2el: null },
      inputTokens: null,
      outputTokens: null,
    });
    const unknown = roundFigures(
      { timelines: [timeline({ promptTokens: null, completionTokens: null })], client: idleClient },
      [{ outputTokens: 3, ignoreEos: true, usage: false }],
      Infinity,
      undefined,
    );
    expect(unknown).toMatchObject({ totalThroughput: null, inputTokens: null, outputTokens: 3, tokensPerDelta: null });
  });
});
