import { setImmediate as eventLoopTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { StuckStep } from "../../../server/engine/watchdog.ts";
import { alone, collect, idsOf, requestOf, setUp } from "../../support/engine.ts";
import { gate } from "../../support/fake-engine.ts";

// Time passes when a test says so; the engine's turns of the event loop are real.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

/** An engine of one slot whose first step waits for the gate. */
function held(limits: NonNullable<Parameters<typeof setUp>[0]>["limits"] = {}) {
  const open = gate();
  const started = gate();
  const seen: string[] = [];
  const note = (what: string) => (step: StuckStep) => seen.push(`${what} after ${step.seconds} s: ${step.description}`);
  const set = setUp({
    limits,
    scheduler: { maxRunning: 1, maxRows: 64 },
    observers: [{ stepStuck: note("stuck"), stepRecovered: note("recovered") }],
    beforeStep: (_, step) => {
      if (step > 0) return;
      started.open();
      return open.opened;
    },
  });
  return { ...set, open, started, seen };
}

describe("a full queue", () => {
  test("takes no more requests, and goes on with those that it has", async () => {
    const { engine, open, started } = held({ maxWaiting: 2 });
    const first = collect(engine, requestOf("first", [3]));
    await started.opened;
    const waiting = ["a", "b", "b2"].map((id) => collect(engine, { ...requestOf(id, [3]), batch: id[0]! }));
    await expect(collect(engine, requestOf("c", [3]))).rejects.toMatchObject({
      code: "queue_full",
      message: "2 requests wait already; 2 may",
      retryAfterSeconds: 1,
    });
    open.open();
    for (const { events } of await Promise.all([first, ...waiting])) expect(events).toHaveLength(8);
    await collect(engine, requestOf("c", [3]));
  });
});

describe("deadlines", () => {
  test("end a request that has not begun, and none that has", async () => {
    const { engine, open, started } = held({ queueSeconds: 5 });
    const first = collect(engine, requestOf("first", [3]));
    await started.opened;
    const second = collect(engine, requestOf("second", [3]));
    second.catch(() => {});
    vi.advanceTimersByTime(4999);
    expect(engine.stats().waiting).toBe(1);
    vi.advanceTimersByTime(1);
    await expect(second).rejects.toMatchObject({
      code: "queue_timeout",
      message: "the request waited for 5 s and had not begun to run",
    });
    expect(engine.stats().waiting).toBe(0);
    open.open();
    expect(idsOf((await first).events)).toEqual(alone(requestOf("first", [3])));
  });

  test("end a request that runs too long; its neighbour is as it is alone", async () => {
    const half = gate();
    const { engine } = setUp({
      limits: { requestSeconds: 10 },
      beforeStep: (_, step) => (step === 3 ? half.open() : undefined),
    });
    const slow = collect(engine, requestOf("slow", [3], { maxTokens: 30 }));
    slow.catch(() => {});
    await half.opened;
    const later = collect(engine, requestOf("later", [4, 3], { maxTokens: 30 }));
    later.catch(() => {});
    await eventLoopTurn();
    vi.advanceTimersByTime(9_999);
    const other = requestOf("other", [4], { maxTokens: 30 });
    const unhurried = collect(engine, other);
    await eventLoopTurn();
    vi.advanceTimersByTime(1);
    await expect(slow).rejects.toMatchObject({ code: "request_timeout" });
    await expect(slow).rejects.toThrow(/longer than the 10 s allowed; [1-9]\d* tokens were made/);
    await expect(later).rejects.toMatchObject({ code: "request_timeout" });
    expect(idsOf((await unhurried).events)).toEqual(alone(other));
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocks: { owned: 0 } });
  });
});

describe("a step that does not end", () => {
  test("is reported once, with what it runs, and no longer when it has ended", async () => {
    const { engine, open, started, seen } = held({ stuckSeconds: 60 });
    const request = requestOf("a", [3, 4, 5]);
    const run = collect(engine, request);
    await started.opened;
    vi.advanceTimersByTime(59_999);
    expect(engine.stats().stuckStep).toBeUndefined();
    vi.advanceTimersByTime(1);
    const description = "3 rows of 1 sequences, 0 of them decoding, contexts of up to 3 tokens";
    expect(engine.stats().stuckStep).toEqual({ description, seconds: 60 });
    vi.advanceTimersByTime(30_000);
    expect(engine.stats().stuckStep).toEqual({ description, seconds: 90 });
    open.open();
    expect(idsOf((await run).events)).toEqual(alone(request));
    expect(engine.stats().stuckStep).toBeUndefined();
    expect(seen).toEqual([`stuck after 60 s: ${description}`, `recovered after 90 s: ${description}`]);
  });

  test("that fails is over too", async () => {
    const { engine } = setUp({
      limits: { stuckSeconds: 1 },
      beforeStep: () => {
        vi.advanceTimersByTime(2000);
        throw new Error("no memory");
      },
    });
    await expect(collect(engine, requestOf("a", [3]))).rejects.toMatchObject({ code: "step_failed" });
    expect(engine.stats().stuckStep).toBeUndefined();
  });
});
