import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Choice, Outcome } from "../../bench/soak/client.ts";
import { parseEvents } from "../../bench/soak/events.ts";
import { Ledger } from "../../bench/soak/ledger.ts";
import { memoryReport } from "../../bench/soak/memory.ts";
import { Random } from "../../bench/soak/random.ts";
import { Traffic } from "../../bench/soak/traffic.ts";

const choice = (text: string): Choice => ({ text, finishReason: "stop", logprobs: [] });
const answered = (...texts: string[]): Outcome => ({ kind: "answered", choices: texts.map(choice), tokens: 1 });
const request = { path: "/v1/completions", body: { prompt: "a" }, marker: "zq0000001", refusal: null } as const;

/** The problems that a ledger finds in outcomes of one request, which alone is answered "one two". */
function problemsOf(...outcomes: Outcome[]): string[] {
  const ledger = new Ledger();
  for (const outcome of outcomes) ledger.record(request, outcome);
  for (const account of ledger.accounts.values()) ledger.compare(account, answered("one two"));
  return ledger.problems;
}

describe("the ledger", () => {
  it("has nothing against answers and parts that are those of the request alone", () => {
    const part: Outcome = { kind: "left", choices: [choice("one")] };
    expect(problemsOf(answered("one two"), answered("one two"), part)).toEqual([]);
  });

  it.each<[string, Outcome, RegExp]>([
    ["another answer", answered("one three"), /answered.*one three.*alone.*one two/s],
    ["another part", { kind: "left", choices: [choice("three")] }, /had.*three.*when it left/s],
    ["a foreign marker", answered("one two zq0000002"), /marker zq0000002 of another request/],
    ["a lost request", { kind: "failed", message: "no answer in 300 s" }, /no answer in 300 s/],
    ["a refusal", { kind: "refused", status: 500, message: "the server failed" }, /refused with 500/],
  ])("complains of %s", (_, outcome, message) => {
    const problems = problemsOf(outcome);
    expect(problems.some((problem) => message.test(problem))).toBe(true);
  });

  it("wants what is wrong to be refused", () => {
    const ledger = new Ledger();
    ledger.record({ ...request, refusal: 400 }, { kind: "refused", status: 400, message: "" });
    expect([ledger.problems, ledger.counts.refused]).toEqual([[], 1]);
    ledger.record({ ...request, refusal: 400 }, answered("x"));
    expect(ledger.problems).toHaveLength(1);
  });
});

describe("traffic", () => {
  it("is what its seed says, with a marker of its own for every request", () => {
    const draw = () => {
      const random = new Random(5);
      const traffic = new Traffic(random, 1536, 20);
      return Array.from({ length: 200 }, () => traffic.next(random));
    };
    const requests = draw();
    expect(draw()).toEqual(requests);
    const bodies = new Map(requests.map(({ marker, body }) => [marker, JSON.stringify(body)]));
    expect(bodies.size).toBeGreaterThan(20);
    expect(requests.every(({ marker, body }) => bodies.get(marker) === JSON.stringify(body))).toBe(true);
    // Without a seed, an answer could not be compared with another one.
    const drawn = requests.filter(({ body }) => body.temperature !== 0 && body.temperature !== undefined);
    expect(drawn.filter(({ refusal, body }) => refusal === null && body.seed === undefined)).toEqual([]);
  });
});

describe("memory", () => {
  const samplesOf = (megabytesAt: (share: number) => number) =>
    Array.from({ length: 101 }, (_, i) => ({ seconds: 6 * i, bytes: megabytesAt(i / 100) * 2 ** 20 }));

  it("is level after a warm-up, and not if it goes on growing", () => {
    expect(memoryReport(samplesOf((share) => Math.min(300, 100 + 2000 * share)))).toMatchObject({ level: true });
    const growing = memoryReport(samplesOf((share) => 300 + 200 * share))!;
    expect(growing.level).toBe(false);
    expect(growing.slopeMbPerMinute).toBeCloseTo(20, 5);
    expect(memoryReport([])).toBeNull();
  });
});

describe("events", () => {
  it("come whole however the bytes are cut", async () => {
    const bytes = new TextEncoder().encode("data: é🦊\n\n: ping\n\ndata: two\n\ndata: [DONE]\n\n");
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(bytes.length)), async (cuts) => {
        const places = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        const pieces = places.slice(1).map((end, i) => bytes.slice(places[i], end));
        const found: string[] = [];
        for await (const data of parseEvents(ReadableStream.from(pieces) as ReadableStream<Uint8Array>))
          found.push(data);
        expect(found).toEqual(["é🦊", "two", "[DONE]"]);
      }),
      { numRuns: 30 },
    );
  });
});
