import { describe, expect, test } from "vitest";
import type { GenerateRequest, TokenConstraint, TokenGrammar } from "../../../server/engine/types.ts";
import { alone, BLOCK, collect, EOS, idsOf, requestOf, setUp, vocabSize } from "../../support/engine.ts";

interface Made extends TokenConstraint {
  closed: number;
  readonly tokens: number[];
}

/** Allows what `allowed` says after so many tokens; its masks come when `delay` resolves. */
function grammarOf(allowed: (count: number) => readonly number[], delay = () => Promise.resolve()) {
  const made: Made[] = [];
  const maskOf = (count: number) => {
    const mask = new Int32Array(Math.ceil(vocabSize / 32));
    for (const token of allowed(count)) mask[token >> 5]! |= 1 << (token & 31);
    return mask;
  };
  const grammar: TokenGrammar = {
    start() {
      let settled = Promise.resolve();
      const constraint = {
        mask: maskOf(0) as Int32Array | null,
        error: null as Error | null,
        closed: 0,
        tokens: [] as number[],
        settled: () => settled,
        accept(token: number) {
          constraint.tokens.push(token);
          constraint.mask = null;
          const count = constraint.tokens.length;
          settled = delay().then(
            () => {
              constraint.mask = maskOf(count);
            },
            (error: Error) => {
              constraint.error = error;
            },
          );
        },
        close() {
          constraint.closed += 1;
        },
      };
      made.push(constraint);
      return constraint;
    },
  };
  return { grammar, made };
}

const constrained = (id: string, promptIds: number[], grammar: TokenGrammar, changes = {}): GenerateRequest => {
  return { ...requestOf(id, promptIds, changes), grammar };
};
const alternating = (count: number) => [3 + (count % 2)];

describe("a request with a grammar", () => {
  test("gets what its masks allow, whatever the model likes, and frees the grammar", async () => {
    const { engine } = setUp();
    const { grammar, made } = grammarOf(alternating);
    const { events } = await collect(engine, constrained("a", [5, 6], grammar));
    expect(idsOf(events)).toEqual([3, 4, 3, 4, 3, 4, 3, 4]);
    expect(made[0]!.tokens).toEqual([3, 4, 3, 4, 3, 4, 3]);
    expect(made[0]!.closed).toBeGreaterThan(0);
  });

  test("ends where the grammar ends, despite ignore_eos and a least number of tokens", async () => {
    const { engine } = setUp();
    const ends = grammarOf((count) => (count < 3 ? [3, EOS] : [EOS]));
    const request = constrained("a", [5], ends.grammar, { ignoreEos: true, minTokens: 6 });
    const { events } = await collect(engine, request);
    expect(idsOf(events)).toEqual([3, 3, 3, EOS]);
    expect(events.at(-1)!.finishReason).toBe("stop");
  });

  test("does not hold up others when its masks are late, nor is disturbed by them", async () => {
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { engine } = setUp();
    const late = grammarOf(alternating, () => released);
    const first = collect(engine, constrained("late", [5, 6], late.grammar));
    const other = requestOf("other", [3, 4, 5]);
    const { events } = await collect(engine, other);
    expect(idsOf(events)).toEqual(alone(other));
    expect(late.made[0]!.tokens).toEqual([3]);
    release();
    expect(idsOf((await first).events)).toEqual([3, 4, 3, 4, 3, 4, 3, 4]);
  });

  test("fails alone when its grammar does", async () => {
    const { engine } = setUp();
    const { grammar, made } = grammarOf(alternating, () => Promise.reject(new Error("the thread ended")));
    const failing = collect(engine, constrained("a", [5], grammar));
    const other = requestOf("other", [3, 4]);
    const [failed, { events }] = await Promise.all([failing.catch((error) => error), collect(engine, other)]);
    expect(failed).toMatchObject({ code: "step_failed", message: expect.stringContaining("the thread ended") });
    expect(idsOf(events)).toEqual(alone(other));
    expect(made[0]!.closed).toBeGreaterThan(0);
  });

  test("goes on after a preemption where it was", async () => {
    const { engine } = setUp({ blocks: 6 });
    const { grammar, made } = grammarOf(alternating);
    const prompts = [new Array(BLOCK).fill(5), new Array(BLOCK).fill(6), new Array(BLOCK).fill(7)];
    const runs = prompts.map((prompt, i) => collect(engine, constrained(`${i}`, prompt, grammar, { maxTokens: 12 })));
    const results = await Promise.all(runs);
    expect(results.reduce((sum, { summary }) => sum + summary.preemptions, 0)).toBeGreaterThan(0);
    for (const { events } of results) expect(idsOf(events)).toEqual(Array.from({ length: 12 }, (_, i) => 3 + (i % 2)));
    for (const { tokens } of made) expect(tokens).toHaveLength(11);
  });

  test("frees the grammar of one that is left", async () => {
    const { engine } = setUp();
    const { grammar, made } = grammarOf(alternating);
    for await (const _ of engine.generate(constrained("a", [5], grammar))) break;
    expect(made[0]!.closed).toBeGreaterThan(0);
  });
});
