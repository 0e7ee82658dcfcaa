import { describe, expect, it } from "vitest";
import { Clock } from "../../../bench/compare/clock.ts";
import type { CompareOptions } from "../../../bench/compare/command.ts";
import { ContextRounds } from "../../../bench/compare/context-rounds.ts";
import type { MemoryPlan, Skipped } from "../../../bench/compare/memory.ts";
import { PeerMissing } from "../../../bench/compare/peer.ts";
import type { DecodeRound, System } from "../../../bench/compare/system.ts";

/** Notes what it is asked for; a step takes as many milliseconds as `msOf` says. */
class Recorder implements System {
  readonly variants = ["dense"];
  readonly versions = {};
  readonly vocabSize = 100;
  readonly layers = 1;
  readonly name: string;
  private readonly log: string[];
  private readonly msOf: (round: DecodeRound) => number;
  filled: readonly number[] = [];

  constructor(name: string, log: string[], msOf: (round: DecodeRound) => number = () => 1) {
    this.name = name;
    this.log = log;
    this.msOf = msOf;
  }
  async check() {
    return [];
  }
  async open(positions: number, sequences: number) {
    this.log.push(`${this.name} opens ${positions} x ${sequences}`);
  }
  async fill(tokens: readonly number[]) {
    this.log.push(`${this.name} fills ${tokens.length}`);
    this.filled = tokens;
    return 2;
  }
  async refill(tokens: readonly number[]) {
    this.log.push(`${this.name} refills ${tokens.length}`);
    this.filled = tokens;
  }
  async decode(round: DecodeRound) {
    const steps = round.tokens.length / round.batch;
    this.log.push(`${this.name} ${round.context} x ${round.batch}: ${steps}`);
    return new Array(steps).fill(this.msOf(round));
  }
  async cpuSeconds() {
    return 0;
  }
  close() {}
}

const plan: MemoryPlan = { skipped: [], refused: new Set(), runs: () => true };

async function run(given: Partial<CompareOptions>, systems: System[], runs = plan.runs) {
  const options = { context: [256], batch: [1], rounds: 3, steps: 8, roundSeconds: 6, prefill: 0, ...given };
  const io = { out: () => {}, err: () => {}, stop: new AbortController().signal };
  const clock = new Clock(systems, 100, io as never, 0);
  const skipped: Skipped[] = [];
  const skip = (one: Skipped) => skipped.push(one);
  const parts = { systems, options: options as CompareOptions, plan: { ...plan, runs }, skip, clock };
  const contexts = options.context.map((context) => new ContextRounds({ context, ...parts }));
  for (let round = 0; round < options.rounds; round++) {
    for (const context of contexts) await context.round(round, 100);
  }
  return { contexts, results: contexts.flatMap(({ cells }) => cells.map((cell) => cell.result())), skipped };
}

describe("rounds of contexts", () => {
  it("come after one another, over caches that are opened and filled anew, warmed up again", async () => {
    const log: string[] = [];
    const { results } = await run({ context: [256, 512], rounds: 3, steps: 6 }, [new Recorder("one", log)]);
    const visit = (context: number) => [
      `one opens ${context + 6} x 1`,
      `one refills ${context}`,
      `one ${context} x 1: 4`,
      `one ${context} x 1: 6`,
    ];
    expect(log).toEqual([1, 2, 3].flatMap(() => [256, 512].flatMap(visit)));
    expect(results.map(({ series }) => series.map(({ context, rounds }) => [context, rounds.length]))).toEqual([
      [[256, 3]],
      [[512, 3]],
    ]);
  });

  it("of one context keep its caches", async () => {
    const log: string[] = [];
    await run({ batch: [1, 2], rounds: 2 }, [new Recorder("one", log)]);
    const warm = ["one 256 x 1: 4", "one 256 x 1: 8", "one 256 x 2: 4", "one 256 x 2: 8"];
    expect(log).toEqual(["one opens 264 x 2", "one refills 256", ...warm, "one 256 x 1: 8", "one 256 x 2: 8"]);
  });

  it("begin with another system each", async () => {
    const log: string[] = [];
    await run(
      {},
      ["a", "b", "c"].map((name) => new Recorder(name, log)),
    );
    const timed = log.filter((line) => line.endsWith(": 8")).map((line) => line[0]);
    expect(timed.join("")).toBe("abcbcacab");
  });

  it("fill shorter contexts with the beginning of longer ones", async () => {
    const systems = [new Recorder("one", [])];
    const [short, long] = [256, 512].map((context) =>
      run({ context: [context] }, systems).then(() => systems[0]!.filled),
    );
    const texts = await Promise.all([short!, long!]);
    expect(texts[1]!.slice(0, 256)).toEqual(texts[0]);
  });

  it.each([
    [1, 3, [256, 512], 1],
    [3, 3, [256, 512], 3],
    [5, 3, [256, 512], 5],
    [4, 3, [256], 4],
    [2, 3, [256], 2],
  ])("time %d prefills in %d rounds over %j", async (prefill, rounds, context, times) => {
    const log: string[] = [];
    const { contexts } = await run({ prefill, rounds, context }, [new Recorder("one", log), new Recorder("two", log)]);
    for (const one of contexts)
      expect(one.prefill.map(({ rounds: seconds }) => seconds.length)).toEqual([times, times]);
    // The first fill of each is one that is not timed.
    const fills = log.filter((line) => line === `one fills ${context[0]}`).length;
    expect(fills).toBe(times + 1);
  });

  it("go on without what has no room, no cache or no step, each said once", async () => {
    const log: string[] = [];
    const closed = new Recorder("closed", log);
    closed.open = async () => {
      throw new PeerMissing("no cache");
    };
    const tired = new Recorder("tired", log, ({ batch }) => {
      if (batch === 2) throw new PeerMissing("no step");
      return 1;
    });
    const systems = [new Recorder("one", log), closed, tired, new Recorder("small", log)];
    const runs = (name: string, _context: number, batch: number) => name !== "small" || batch === 1;
    const { results, skipped } = await run({ batch: [1, 2] }, systems, runs);
    expect(skipped).toEqual([{ what: "closed at context 256", reason: "no cache" }]);
    expect(results.map(({ series }) => series.map(({ system }) => system))).toEqual([
      ["one", "tired", "small"],
      ["one"],
    ]);
    expect(results[1]!.skipped).toEqual([{ what: "tired at context 256 x batch 2", reason: "no step" }]);
    expect(log.filter((line) => line.startsWith("small opens"))).toEqual(["small opens 264 x 1"]);
  });

  it("have fewer steps where those take long, and say so", async () => {
    const slow = new Recorder("slow", [], () => 2500);
    const { results } = await run({}, [slow]);
    expect(results[0]!.shortened).toEqual([{ system: "slow", context: 256, batch: 1, steps: 2 }]);
    expect(results[0]!.series[0]!.rounds.map((round) => round.length)).toEqual([2, 2, 2]);
  });
});
