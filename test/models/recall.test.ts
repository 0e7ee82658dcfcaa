import pino from "pino";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  answerOf,
  dense,
  measureRecall,
  promptOf,
  type RecallResult,
  readRecallSet,
  sparqAt,
  windowOf,
} from "../../bench/accuracy/recall.ts";
import { parseServerOptions } from "../../server/config.ts";
import { loadServing } from "../../server/load-serving.ts";
import type { Serving } from "../../server/serving.ts";

/** Few of the 200 items, for time's sake; `node dist/bench/recall.js --n 200` asks them all. */
const N = 20;
const set = readRecallSet();
const sample = { ...set, items: set.items.slice(0, N) };

/** How far the share found in N items may be from the true share p: two standard errors. */
const slack = (p: number) => 2 * Math.sqrt((p * (1 - p)) / N);

describe("recall items", () => {
  it("are prompts of the length they claim, each fact on a line of its own, the asked one last and open", () => {
    for (const item of set.items) {
      const lines = promptOf(set.filler, item).split("\n");
      const facts = item.facts.map(([, key, value]) => `The secret of ${key} is ${value}.`);
      expect(lines.filter((text) => facts.includes(text))).toEqual(facts);
      expect(`${lines.at(-1)}${answerOf(item)}.`).toBe(facts[item.ask]);
    }
  });
});

describe.each(["tiny-llama", "tiny-pythia"])("key-value recall of %s over 2048 tokens", (model) => {
  let serving: Serving;
  let accuracy: (mode: string) => RecallResult;

  beforeAll(async () => {
    const options = parseServerOptions({ model, maxRunning: 1, threads: 1 });
    serving = await loadServing(options, pino({ level: "silent" }));
    const modes = [dense(serving), sparqAt(1 / 4, serving), windowOf(1 / 4, serving)];
    const results = await measureRecall(serving, sample, modes);
    accuracy = (mode) => results.find((result) => result.mode === mode)!;
  }, 300_000);
  afterAll(() => serving?.engine.close());

  it("has items of the length it is said to be of", () => {
    for (const item of sample.items) {
      const tokens = serving.tokenizer.encode(promptOf(set.filler, item)).length;
      expect(Math.abs(tokens - set.tokens)).toBeLessThan(64);
    }
  });

  it("is 95 % with dense attention", () => {
    expect(accuracy("dense").accuracy).toBeGreaterThanOrEqual(0.95 - slack(0.95));
  });

  it("is within 2 points of that with SparQ at a quarter of the traffic", () => {
    const { accuracy: share, trafficRatio } = accuracy("sparq 1/4");
    expect(accuracy("dense").accuracy - share).toBeLessThanOrEqual(0.02 + slack(0.02));
    // A quarter of the numbers; of the bytes it is less, since the keys that are scanned take half as many.
    expect(trafficRatio).toBeGreaterThan(0.15);
    expect(trafficRatio).toBeLessThan(0.25);
  });

  it("is half of that at most in a recent window of the same budget", () => {
    const most = accuracy("dense").accuracy / 2;
    expect(accuracy("window 1/4").accuracy).toBeLessThanOrEqual(most + slack(most));
  });
});
