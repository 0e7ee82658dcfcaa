import { describe, expect, test } from "vitest";
import { CacheManager } from "../../../kvcache/cache-manager.ts";
import { checkInvariants } from "../../../kvcache/invariants.ts";
import { Scheduler } from "../../../server/engine/scheduler.ts";
import type { StepPlan } from "../../../server/engine/types.ts";
import { attention, range, setUp, summary } from "../../support/scheduler.ts";

describe("admission", () => {
  test("refuses at once what could never run, with the numbers", () => {
    const { add, scheduler } = setUp({ blocks: 3 });
    expect(() => add("big", range(10), 4)).toThrow(
      "the request may grow to 13 positions: needs 4 blocks of 4, the cache has 3",
    );
    expect(scheduler.plan()).toBeNull();
    add("fits", range(10), 3); // its last token is never run: 12 positions
    expect(() => add("fits", range(2), 1)).toThrow("request fits is running already");
  });

  test("is first come, first served: a small one does not overtake", () => {
    const { add, step } = setUp({ blocks: 6 });
    add("a", range(14), 2);
    add("big", range(12, 50), 2);
    add("small", [1], 2);
    expect(step()).toEqual(["a 14@0*"]);
    expect(step(["a"])).toEqual(["a 1@14*"]);
    expect(step()).toEqual(["big 12@0*", "small 1@0*"]);
  });

  test("leaves the watermark to those who run, but not to an empty house", () => {
    const { add, step } = setUp({ blocks: 4, watermark: 2 });
    add("a", range(8), 2);
    add("b", range(5, 50), 2);
    expect(step()).toEqual(["a 8@0*"]); // b would leave no block
    expect(step(["a"])).toEqual(["a 1@8*"]);
    expect(step()).toEqual(["b 5@0*"]);
  });
});

describe("priority", () => {
  const high = { priority: -1 };
  const low = { priority: 5 };

  test("goes before order of arrival, and takes a slot from a lower one", () => {
    const { add, step, scheduler, commit } = setUp({ prefixCaching: false }, { maxRunning: 2 });
    add("a", range(3), 8, low);
    add("b", range(3, 50), 8, low);
    step();
    add("c", range(2, 70));
    add("d", range(2, 80), 8, high);
    const plan = scheduler.plan()!;
    expect(plan.preempted).toEqual(["b", "a"]);
    expect(summary(plan)).toEqual(["d 2@0*", "c 2@0*"]);
    commit(plan, ["c"]);
    expect(step()).toEqual(["d 1@2*", "a 4@0*"]);
  });

  test("takes blocks of lower ones, no more than it needs, and none if that does not help", () => {
    const { add, step, scheduler, commit } = setUp({ blocks: 6, prefixCaching: false });
    add("equal", range(5));
    add("a", range(5, 20), 2, low);
    add("b", range(5, 50), 2, low);
    step();
    add("large", range(20, 100), 2);
    const nothing = scheduler.plan()!;
    expect(nothing.preempted).toEqual([]); // without both it would have four blocks of the five
    commit(nothing, ["equal"]);
    const plan = scheduler.plan()!;
    expect(plan.preempted).toEqual(["b", "a"]);
    expect(summary(plan)).toEqual(["large 16@0"]);
  });

  test("decides who yields when blocks run out, whoever came first", () => {
    const { add, step, scheduler } = setUp({ blocks: 4, prefixCaching: false });
    add("first", range(7), 8, low);
    add("second", range(7, 50), 8);
    step();
    step();
    const plan = scheduler.plan()!;
    expect(plan.preempted).toEqual(["first"]);
    expect(summary(plan)).toEqual(["second 1@8*"]);
  });

  test("counts blocks that a released prefix shares but once", () => {
    const { add, step, scheduler } = setUp({ blocks: 4 }, { maxRunning: 4 });
    add("a", range(9), 2, low);
    step(); // two full blocks and one more
    add("same", range(9), 8);
    const plan = scheduler.plan()!; // its two hits are held by a and would be idle without it
    expect(plan.preempted).toEqual([]);
    expect(summary(plan)).toEqual(["a 1@9*", "same 1@8*"]);
  });
});

describe("tenants", () => {
  test("take turns when slots are short", () => {
    const { add, step } = setUp({}, { maxRunning: 1 });
    for (const id of ["a1", "a2", "a3"]) add(id, [1], 1, { tenant: "a" });
    add("b1", [1], 1, { tenant: "b" });
    const order = ["a1", "b1", "a2", "a3"];
    for (const id of order) expect(step([id])).toEqual([`${id} 1@0*`]);
  });
});

describe("long prompts", () => {
  test("leave rows to a short one behind them", () => {
    const { add, step } = setUp({}, { maxRows: 8 });
    add("long", range(100));
    add("also long", range(90, 200));
    expect(step()).toEqual(["long 4@0", "also long 4@0"]);
    add("short", range(3, 300));
    expect(step()).toEqual(["long 4@4", "also long 1@4", "short 3@0*"]);
  });

  test("get as many rows beside decode rows as keep a step near the time of one without", () => {
    const manager = new CacheManager({ blocks: 4096, blockSize: 4 });
    const scheduler = new Scheduler(manager, {
      maxRows: 512,
      maxRunning: 8,
      maxScoredRows: 8,
      prefill: { slowdown: 2, floor: 4 },
    });
    const request = { maxNewTokens: 8000, attention };
    scheduler.add({ ...request, id: "stream", promptIds: [1] });
    const secondsOf = (plan: StepPlan) =>
      plan.sequences.reduce((sum, { requestId, tokenIds, contextLength }) => {
        return sum + (requestId === "stream" ? 0.01 : tokenIds.length * (0.001 + contextLength * 2e-7));
      }, 0);
    const run = (): { seconds: number; rows: number } => {
      const plan = scheduler.plan()!;
      const wanting = plan.sequences.filter(({ logits }) => logits === "last");
      const seconds = secondsOf(plan);
      scheduler.commit(
        wanting.map(({ requestId }) => ({ requestId, tokenIds: [7], finished: requestId === "long" })),
        seconds,
      );
      return { seconds, rows: plan.sequences.find((s) => s.requestId === "long")?.tokenIds.length ?? 0 };
    };
    for (let i = 0; i < 10; i++) run();
    scheduler.add({ ...request, id: "long", promptIds: range(8000, 10) });
    const steps = [];
    while (scheduler.get("long") !== undefined) steps.push(run());
    const seconds = steps.map((step) => step.seconds).sort((a, b) => a - b);
    expect(seconds[Math.floor(seconds.length * 0.99)]).toBeLessThan(0.021);
    // Half of the time is the prompt's: 14.4 s of work.
    const whole = seconds.reduce((sum, each) => sum + each);
    expect(whole).toBeGreaterThan(2 * 14.4 * 0.95);
    expect(whole).toBeLessThan(2 * 14.4 * 1.2);
    // Alone again, a prompt is not held back.
    scheduler.abort("stream");
    scheduler.add({ ...request, id: "next", promptIds: range(600, 9000) });
    expect(summary(scheduler.plan()!)).toEqual(["next 512@0"]);
  });
});

describe("preemption", () => {
  test("takes the latest comer's blocks, and computes its prompt and tokens again later", () => {
    const { add, scheduler, commit, step } = setUp({ blocks: 4, prefixCaching: false });
    add("a", range(7), 8);
    add("b", range(7, 50), 8);
    step(); // both prompts: two blocks each
    step(); // both blocks full
    const plan = scheduler.plan()!;
    expect(plan.preempted).toEqual(["b"]);
    expect(summary(plan)).toEqual(["a 1@8*"]);
    commit(plan);
    expect(scheduler.stats).toMatchObject({ running: 1, waiting: 1, preemptions: 1 });
    expect(step(["a"])).toEqual(["a 1@9*"]);
    const again = scheduler.plan()!;
    expect(again.preempted).toEqual([]);
    expect(again.sequences).toMatchObject([
      { requestId: "b", tokenIds: [...range(7, 50), 7, 7], contextLength: 0, denseUntil: 7, logits: "last" },
    ]);
  });

  test("a preempted request stands before those who came after it", () => {
    const { add, step, scheduler, commit } = setUp({ blocks: 4, prefixCaching: false });
    add("a", range(7), 8);
    add("b", range(7, 50), 8);
    step();
    step();
    add("c", [1], 2);
    const plan = scheduler.plan()!;
    expect(plan.preempted).toEqual(["b"]);
    commit(plan, ["a"]);
    expect(step()).toEqual(["b 9@0*", "c 1@0*"]);
  });

  test("may fall on the very request that asks", () => {
    const { add, step, scheduler } = setUp({ blocks: 5, prefixCaching: false });
    add("a", range(11), 4);
    add("b", range(7, 50), 6);
    expect(step()).toEqual(["a 11@0*", "b 5@0"]);
    expect(step()).toEqual(["a 1@11*", "b 2@5*"]);
    step(["a"]);
    expect(scheduler.stats).toMatchObject({ running: 0, waiting: 1, preemptions: 1 });
    expect(step()).toEqual(["b 8@0*"]);
  });

  test("costs no recompute of prompt blocks that stay cached", () => {
    const { add, step, scheduler, commit } = setUp({ blocks: 5 });
    add("a", range(7), 8);
    add("b", range(8, 50), 8);
    step();
    step(); // b begins a third block
    const plan = scheduler.plan()!;
    expect(plan.preempted).toEqual(["b"]); // a takes the one of b's blocks that holds no whole prompt block
    commit(plan, ["a"]);
    expect(step()).toEqual(["b 2@8*"]);
    expect(scheduler.get("b")).toMatchObject({ preemptions: 1, cachedTokens: 0 });
  });
});

describe("abort", () => {
  test("frees blocks at once, waiting, running or in flight", () => {
    const { add, scheduler, step, manager, commit } = setUp({ blocks: 4 }, { maxRunning: 1 });
    add("a", range(6));
    add("b", range(6, 50));
    const plan = scheduler.plan()!;
    expect(scheduler.abort("b")).toBe(true);
    expect(scheduler.abort("a")).toBe(true);
    expect(scheduler.abort("a")).toBe(false);
    expect(manager.counts).toEqual({ total: 4, free: 4, cached: 0, owned: 0 });
    commit(plan); // tokens of the dead are ignored
    expect(scheduler.plan()).toBeNull();
    add("a", range(3));
    expect(step()).toEqual(["a 3@0*"]);
  });

  test("a new request under an aborted one's id has nothing of its step", () => {
    const { add, scheduler, commit, step, manager } = setUp();
    add("a", range(9));
    const plan = scheduler.plan()!;
    scheduler.abort("a");
    add("a", range(10, 50));
    commit(plan);
    expect(step()).toEqual(["a 10@0*"]);
    expect(step(["a"])).toEqual(["a 1@10*"]);
    expect(manager.counts).toMatchObject({ cached: 2, owned: 0 });
    expect(checkInvariants(manager.snapshot())).toEqual([]);
  });
});
