import { describe, expect, test } from "vitest";
import type { EngineObserver, ObservedStep, RequestOutcome } from "../../../server/engine/observer.ts";
import { collect, requestOf, setUp } from "../../support/engine.ts";

/** Writes down the calls, and a clock that a step moves by one second. */
function recorder() {
  const calls: string[] = [];
  const steps: ObservedStep[] = [];
  const outcomes = new Map<string, RequestOutcome>();
  const clock = { seconds: 0 };
  const observer: EngineObserver = {
    requestQueued: ({ id }) => calls.push(`queued ${id}`),
    requestRefused: (code) => calls.push(`refused ${code}`),
    requestStarted: ({ id }, seconds) => calls.push(`started ${id} ${seconds}`),
    firstToken: ({ id }, seconds) => calls.push(`first ${id} ${seconds}`),
    token: ({ id }, seconds) => calls.push(`token ${id} ${seconds}`),
    preempted: ({ id }) => calls.push(`preempted ${id}`),
    finished: ({ id }, outcome) => {
      calls.push(`finished ${id} ${outcome.reason}`);
      outcomes.set(id, outcome);
    },
    step: (step) => steps.push(step),
  };
  const beforeStep = () => {
    clock.seconds += 1;
  };
  return { calls, steps, outcomes, options: { observers: [observer], now: () => clock.seconds, beforeStep } };
}

describe("an observer", () => {
  test("is told of a request's way with its times, and of each step", async () => {
    const { calls, steps, outcomes, options } = recorder();
    const { engine } = setUp({ ...options, scheduler: { maxRows: 4, maxRunning: 4 } });
    await collect(engine, { ...requestOf("a", [3, 4, 5, 3, 4, 5], { maxTokens: 3 }), tenant: "t" });
    expect(calls).toEqual(["queued a", "started a 0", "first a 2", "token a 1", "token a 1", "finished a length"]);
    expect(outcomes.get("a")).toEqual({
      reason: "length",
      completionTokens: 3,
      cachedPromptTokens: 0,
      preemptions: 0,
      queueSeconds: 0,
      firstTokenSeconds: 2,
      perTokenSeconds: 1,
      seconds: 4,
    });
    const traffic = { scoreBytes: 1, gatherBytes: 2, denseBytes: 3, denseEquivalentBytes: 4 };
    const step = { seconds: 1, sequences: 1, traffic };
    expect(steps).toEqual([
      { ...step, promptRows: 4, decodeRows: 0 },
      { ...step, promptRows: 2, decodeRows: 0 },
      { ...step, promptRows: 0, decodeRows: 1 },
      { ...step, promptRows: 0, decodeRows: 1 },
    ]);
  });

  test("hears of waiting, preemption, leaving and refusal", async () => {
    const { calls, outcomes, options } = recorder();
    const { engine } = setUp({ ...options, blocks: 5, prefixCaching: false });
    const a = collect(engine, requestOf("a", [3, 4, 5, 3, 4, 5, 3], { maxTokens: 8 }));
    const b = collect(engine, requestOf("b", [4, 4, 5, 3, 4, 5, 3], { maxTokens: 8 }));
    const left = new AbortController();
    const c = collect(engine, requestOf("c", [3]), left.signal);
    left.abort(new Error("gone"));
    await expect(c).rejects.toThrow("gone");
    await expect(collect(engine, requestOf("d", []))).rejects.toMatchObject({ code: "empty_prompt" });
    await Promise.all([a, b]);
    expect(calls).toContain("preempted b");
    expect(calls).toContain("finished c abort");
    expect(calls).toContain("refused empty_prompt");
    expect(calls.filter((call) => call.startsWith("started"))).toEqual(["started a 0", "started b 0"]);
    expect(outcomes.get("c")).toMatchObject({ queueSeconds: null, firstTokenSeconds: null, perTokenSeconds: null });
    expect(outcomes.get("b")).toMatchObject({ preemptions: 1, completionTokens: 8, reason: "length" });
  });

  test("hears of a failed step's requests as errors, and of a request for no tokens", async () => {
    const { calls, steps, options } = recorder();
    const { engine } = setUp({
      ...options,
      beforeStep: () => {
        throw new Error("no memory");
      },
    });
    await expect(collect(engine, requestOf("a", [3]))).rejects.toMatchObject({ code: "step_failed" });
    await collect(engine, requestOf("b", [3], { maxTokens: 0 }));
    expect(calls).toEqual(["queued a", "started a 0", "finished a error", "queued b", "finished b length"]);
    expect(steps).toEqual([]);
  });

  test("that throws disturbs neither the request nor the next observer", async () => {
    const { calls, options } = recorder();
    const throwing = new Proxy({}, { get: () => () => fail("a bad observer") }) as EngineObserver;
    const { engine } = setUp({ ...options, observers: [throwing, ...options.observers] });
    const { events } = await collect(engine, requestOf("a", [3], { maxTokens: 2 }));
    expect(events).toHaveLength(2);
    expect(calls.at(-1)).toBe("finished a length");
  });
});

function fail(message: string): never {
  throw new Error(message);
}
