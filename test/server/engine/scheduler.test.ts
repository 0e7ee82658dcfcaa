import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { AttentionSettings } from "../../../attention/types.ts";
import { CacheManager, type CacheOptions } from "../../../kvcache/cache-manager.ts";
import { checkInvariants } from "../../../kvcache/invariants.ts";
import { Scheduler } from "../../../server/engine/scheduler.ts";
import type { SchedulerSettings } from "../../../server/engine/scheduler-types.ts";
import type { SequenceRequest } from "../../../server/engine/sequence.ts";
import type { PlannedSequence, StepPlan } from "../../../server/engine/types.ts";

const attention: AttentionSettings = {
  mode: "sparq",
  r: 8,
  k: 16,
  local: 4,
  meanValue: true,
  groupSum: "softmax",
};

const unlimited = { slowdown: Number.POSITIVE_INFINITY, floor: 1 };

const range = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i);

function setUp(cache: Partial<CacheOptions> = {}, settings: Partial<SchedulerSettings> = {}) {
  const manager = new CacheManager({ blocks: 100, blockSize: 4, watermark: 0, ...cache });
  const scheduler = new Scheduler(manager, {
    maxRows: 16,
    maxRunning: 4,
    maxScoredRows: 3,
    prefill: unlimited,
    ...settings,
  });
  const add = (id: string, promptIds: number[], maxNewTokens = 8, more: Partial<SequenceRequest> = {}) =>
    scheduler.add({ id, promptIds, maxNewTokens, attention, ...more });
  /** Commits a plan with token 7 for all who want one, after `right` tokens of its draft; `finished` end with it. */
  const commit = (plan: StepPlan, finished: string[] = [], right = 0) => {
    const wanting = plan.sequences.filter((s) => wantsToken(s, scheduler));
    scheduler.commit(
      wanting.map(({ requestId, draft = [] }) => {
        return { requestId, tokenIds: [...draft.slice(0, right), 7], finished: finished.includes(requestId) };
      }),
    );
  };
  const step = (finished: string[] = [], right = 0) => {
    const plan = scheduler.plan()!;
    commit(plan, finished, right);
    return summary(plan);
  };
  return { manager, scheduler, add, commit, step };
}

function wantsToken({ requestId, tokenIds, draft = [] }: PlannedSequence, scheduler: Scheduler): boolean {
  return tokenIds.length - draft.length === scheduler.get(requestId)?.pending;
}

/** "id rows@context", with "*" where the last row's logits are wanted, "**" where all are, "+" and the draft of one. */
const summary = (plan: StepPlan) => {
  const marks = { none: "", last: "*", all: "**" };
  return plan.sequences.map(({ requestId, tokenIds, contextLength, logits, draft }) => {
    return `${requestId} ${tokenIds.length}@${contextLength}${draft ? `+${draft}` : marks[logits]}`;
  });
};

describe("planning", () => {
  test("runs a prompt in chunks, then token by token", () => {
    const { add, step, scheduler } = setUp({}, { maxRows: 5, maxRunning: 2 });
    add("a", range(12));
    expect(step()).toEqual(["a 5@0"]);
    expect(step()).toEqual(["a 5@5"]);
    expect(step()).toEqual(["a 2@10*"]);
    expect(step()).toEqual(["a 1@12*"]);
    expect(step(["a"])).toEqual(["a 1@13*"]);
    expect(scheduler.plan()).toBeNull();
  });

  test("describes sequences as plain data for the native step", () => {
    const { add, step, scheduler } = setUp({}, { maxRows: 6 });
    add("a", range(9, 20));
    step();
    const [sequence] = scheduler.plan()!.sequences;
    expect(sequence).toEqual({
      requestId: "a",
      tokenIds: [26, 27, 28],
      contextLength: 6,
      blockTable: [0, 1, 2],
      attention,
      denseUntil: 9,
      logits: "last",
    });
  });

  test("decode rows come first, and every one of them in every step of another's long prefill", () => {
    const { add, step } = setUp({}, { maxRows: 8, maxRunning: 4 });
    add("a", range(3));
    add("b", range(3, 50));
    expect(step()).toEqual(["a 3@0*", "b 3@0*"]);
    add("long", range(20, 100));
    expect(step()).toEqual(["a 1@3*", "b 1@3*", "long 6@0"]);
    expect(step()).toEqual(["a 1@4*", "b 1@4*", "long 6@6"]);
    expect(step()).toEqual(["a 1@5*", "b 1@5*", "long 6@12"]);
    expect(step()).toEqual(["a 1@6*", "b 1@6*", "long 2@18*"]);
    expect(step()).toEqual(["a 1@7*", "b 1@7*", "long 1@20*"]);
  });

  test("several prompts share a step in order of arrival", () => {
    const { add, step } = setUp({}, { maxRows: 10 });
    add("a", range(4));
    add("b", range(4, 50));
    add("c", range(4, 90));
    expect(step()).toEqual(["a 4@0*", "b 4@0*", "c 2@0"]);
    expect(step()).toEqual(["a 1@4*", "b 1@4*", "c 2@2*"]);
  });

  test("runs no more sequences at once than allowed", () => {
    const { add, step, scheduler } = setUp({}, { maxRunning: 2 });
    for (const id of ["a", "b", "c"]) add(id, [1, 2]);
    expect(step()).toEqual(["a 2@0*", "b 2@0*"]);
    expect(scheduler.stats).toMatchObject({ running: 2, waiting: 1 });
    expect(step(["a"])).toEqual(["a 1@2*", "b 1@2*"]);
    expect(step()).toEqual(["b 1@3*", "c 2@0*"]);
  });

  test("alternates with commits", () => {
    const { add, scheduler, commit } = setUp();
    add("a", [1]);
    const plan = scheduler.plan()!;
    expect(() => scheduler.plan()).toThrow("before the last step's commit()");
    expect(() => scheduler.commit([])).toThrow("the step brought no token for request a");
    commit(plan);
    expect(() => scheduler.commit([])).toThrow("without a step in flight");
  });

  test("refuses settings under which a sequence might never move", () => {
    expect(() => setUp({}, { maxRows: 3, maxRunning: 4 })).toThrow(
      "4 running sequences do not fit into steps of 3 rows",
    );
  });
});

describe("drafts", () => {
  const speculation = { maxDraft: 4, stepCost: 100 };
  const pattern = [1, 2, 3, 4, 5, 6, 1, 2, 3];

  test("run behind the next token, and what came true of them is kept", () => {
    const { add, step, scheduler } = setUp({}, { speculation });
    add("a", pattern, 20);
    expect(step()).toEqual(["a 9@0*"]);
    // The step brought 7, which is new; then 7 again and again.
    expect(step()).toEqual(["a 1@9*"]);
    expect(step()).toEqual(["a 1@10*"]);
    expect(step([], 2)).toEqual(["a 5@11+7,7,7,7"]);
    expect(step([], 4)).toEqual(["a 5@14+7,7,7,7"]);
    expect(step([], 0)).toEqual(["a 5@19+7,7,7,7"]);
    // 14 tokens came; of the last 6, a draft of 4 and the next one at least.
    expect(step(["a"])).toEqual(["a 5@20+7,7,7,7"]);
    expect(scheduler.stats).toMatchObject({ drafts: 4, draftTokens: 16, acceptedDraftTokens: 6 });
  });

  test("end before the request's last token", () => {
    const { add, step } = setUp({}, { speculation });
    add("a", [7, 7, 7, 7], 4);
    expect(step()).toEqual(["a 4@0*"]);
    expect(step()).toEqual(["a 3@4+7,7"]);
    expect(step()).toEqual(["a 2@5+7"]);
    expect(step(["a"])).toEqual(["a 1@6*"]);
  });

  test("take only rows that nobody else wants", () => {
    const { add, step } = setUp({}, { speculation, maxRows: 4 });
    add("a", [7, 7, 7], 20);
    add("b", [7, 7, 7], 20);
    expect(step()).toEqual(["a 3@0*", "b 1@0"]);
    // The rest of the second prompt comes before drafts.
    expect(step()).toEqual(["a 2@3+7", "b 2@1*"]);
    expect(step()).toEqual(["a 3@4+7,7", "b 1@3*"]);
  });

  test("take only blocks that nobody holds", () => {
    const { add, step, manager } = setUp({ blocks: 3 }, { speculation });
    add("a", [7, 7, 7], 10);
    add("b", [7, 7], 10);
    expect(step()).toEqual(["a 3@0*", "b 2@0*"]);
    // A draft of four needs a second block, and the other would need one, too.
    expect(step()).toEqual(["a 5@3+7,7,7,7", "b 2@2+7"]);
    expect(manager.counts.free).toBe(0);
    expect(step()).toEqual(["a 4@4+7,7,7", "b 1@3*"]);
  });

  test("do not cross the bound below which attention is dense", () => {
    const { add, step, scheduler } = setUp({}, { speculation });
    scheduler.add({ id: "a", promptIds: [7, 7, 7], maxNewTokens: 20, attention: { ...attention, minContext: 7 } });
    add("b", [1], 1);
    expect(step(["b"])).toEqual(["a 3@0*", "b 1@0*"]);
    const plan = scheduler.plan()!;
    // Position 6 is the first that sees seven.
    expect(summary(plan)).toEqual(["a 3@3+7,7"]);
    expect(plan.sequences[0]!.attention.mode).toBe("dense");
  });

  test("are not run for a request that does not want them", () => {
    const { scheduler, step } = setUp({}, { speculation });
    scheduler.add({ id: "a", promptIds: [7, 7, 7], maxNewTokens: 20, attention, speculate: false });
    expect([step(), step(), step()]).toEqual([["a 3@0*"], ["a 1@3*"], ["a 1@4*"]]);
  });

  test("must be followed by what comes before a step's last token", () => {
    const { add, step, scheduler } = setUp({}, { speculation });
    add("a", [7, 7, 7], 20);
    step();
    scheduler.plan();
    const commit = (tokenIds: number[]) => scheduler.commit([{ requestId: "a", tokenIds, finished: false }]);
    expect(() => commit([7, 8, 9])).toThrow("the step brought request a tokens that follow no draft");
    expect(() => commit([7, 7, 7, 7, 7, 7])).toThrow("follow no draft");
    commit([7, 7, 9]);
    expect(step()).toEqual(["a 1@6*"]);
  });
});

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

describe("prefix sharing", () => {
  test("skips what is cached, but computes the last prompt token", () => {
    const { add, step, scheduler } = setUp();
    add("a", range(8));
    step();
    step(["a"]);
    add("same", range(8));
    expect(step()).toEqual(["same 4@4*"]);
    expect(scheduler.get("same")).toMatchObject({ cachedTokens: 4 });
    expect(scheduler.stats).toMatchObject({ promptTokens: 16, cachedPromptTokens: 4 });
  });

  test("a request that runs beside its twin catches up instead of computing the same", () => {
    const { add, step } = setUp({}, { maxRows: 10 });
    add("a", range(18));
    add("b", [...range(16), 99, 98, 97]);
    expect(step()).toEqual(["a 10@0"]);
    expect(step()).toEqual(["a 8@10*"]); // b has two blocks of a, and waits for the next
    expect(step()).toEqual(["a 1@18*", "b 3@16*"]); // the rest of a's prompt was done meanwhile
  });

  test("never offers a failed step's blocks", () => {
    const { add, scheduler, step } = setUp();
    add("a", range(8));
    scheduler.plan();
    scheduler.abort("a");
    scheduler.commit([]);
    add("b", range(8));
    expect(step()).toEqual(["b 8@0*"]);
  });
});

describe("scoring prompts", () => {
  test("takes the logits of all their rows, few at a time, and then of the last", () => {
    const { add, step } = setUp();
    add("a", range(7), 2, { scorePrompt: true });
    expect(step()).toEqual(["a 3@0**"]);
    expect(step()).toEqual(["a 3@3**"]);
    expect(step()).toEqual(["a 1@6*"]);
    expect(step(["a"])).toEqual(["a 1@7*"]);
  });

  test("shares the logits of a step among them, and leaves the other rows to others", () => {
    const { add, step } = setUp();
    for (const id of ["a", "b"]) add(id, range(4), 1, { scorePrompt: true });
    add("c", range(9, 50), 1);
    expect(step(["c"])).toEqual(["a 3@0**", "c 9@0*"]);
    expect(step(["a"])).toEqual(["a 1@3*", "b 3@0**"]);
    expect(step(["b"])).toEqual(["b 1@3*"]);
  });

  test("computes what is cached, and caches what it computes", () => {
    const { add, step, scheduler, manager } = setUp({}, { maxScoredRows: 16 });
    add("a", range(9), 1);
    step(["a"]);
    add("b", range(9), 1, { scorePrompt: true });
    expect(step(["b"])).toEqual(["b 9@0**"]);
    add("c", range(12, 30), 1, { scorePrompt: true });
    expect(step(["c"])).toEqual(["c 12@0**"]);
    add("d", range(13, 30), 1);
    expect(step(["d"])).toEqual(["d 1@12*"]);
    expect(scheduler.stats.cachedPromptTokens).toBe(12);
    expect(checkInvariants(manager.snapshot())).toEqual([]);
  });

  test("waits until all its blocks can be had, cached ones of the same prompt or not", () => {
    const { add, step, scheduler } = setUp({ blocks: 5 }, { maxScoredRows: 16 });
    add("a", range(9), 3);
    step();
    add("b", range(9), 1, { scorePrompt: true });
    expect(step()).toEqual(["a 1@9*"]); // b needs 3 blocks, 2 are free
    expect(step(["a"])).toEqual(["a 1@10*"]);
    expect(step(["b"])).toEqual(["b 9@0**"]);
    expect(scheduler.stats.preemptions).toBe(0);
  });

  test.each([
    { maxScoredRows: 2, before: "b 2@6**", after: "b 9@0*", what: "not again once it is done" },
    { maxScoredRows: 1, before: "b 1@3**", after: "b 1@0**", what: "from the start if it was not done" },
  ])("after a preemption: $what", ({ maxScoredRows, before, after }) => {
    const { add, step } = setUp({ blocks: 5 }, { maxScoredRows });
    add("a", range(8), 9);
    step();
    add("b", range(8, 20), 2, { scorePrompt: true });
    for (let i = 0; i < 3; i++) step();
    expect(step()).toEqual(["a 1@11*", before]);
    expect(step(["a"])).toEqual(["a 1@12*"]); // it took the block that b had
    expect(step()).toEqual([after]);
  });

  test("needs at least one row a step", () => {
    expect(() => setUp({}, { maxScoredRows: 0 })).toThrow("0 scored rows");
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

describe("under any load", () => {
  const request = fc.record({
    prompt: fc.integer({ min: 1, max: 16 }),
    family: fc.integer({ min: 0, max: 2 }),
    maxNewTokens: fc.integer({ min: 1, max: 30 }),
    scorePrompt: fc.boolean(),
    priority: fc.integer({ min: 0, max: 1 }),
    tenant: fc.constantFrom("t", "u"),
    /** Step before which it comes. */
    arrival: fc.integer({ min: 0, max: 25 }),
    /** Steps after which it is aborted. */
    patience: fc.option(fc.integer({ min: 0, max: 15 }), { freq: 5 }),
  });
  const load = fc.record({
    requests: fc.array(request, { minLength: 1, maxLength: 12 }),
    spareBlocks: fc.integer({ min: 0, max: 6 }),
    watermark: fc.integer({ min: 0, max: 3 }),
    maxRunning: fc.integer({ min: 1, max: 5 }),
    spareRows: fc.integer({ min: 0, max: 20 }),
    maxScoredRows: fc.integer({ min: 1, max: 6 }),
    speculation: fc.option(
      fc.record({ maxDraft: fc.integer({ min: 1, max: 9 }), stepCost: fc.constantFrom(0.1, 4, 100) }),
    ),
    /** How many tokens of a draft are right, in turn. */
    right: fc.array(fc.nat(9), { minLength: 1, maxLength: 7 }),
    prefill: fc.constantFrom(unlimited, { slowdown: 1.5, floor: 1 }),
    /** What steps take, over and over; every seventh is not measured. */
    seconds: fc.array(fc.double({ min: 0, max: 2, noNaN: true }), { minLength: 1, maxLength: 5 }),
  });

  test("everyone finishes, who goes first moves in every step, nobody overtakes in a tenant, and no block is lost", () => {
    const seen = { preemptions: 0, accepted: 0, refused: 0 };
    fc.assert(
      fc.property(load, ({ requests, spareBlocks, watermark, spareRows, right, seconds, ...settings }) => {
        const { maxRunning, maxScoredRows, prefill } = settings;
        const largest = Math.max(...requests.map((r) => Math.ceil((r.prompt + r.maxNewTokens - 1) / 4)));
        const manager = new CacheManager({ blocks: largest + spareBlocks, blockSize: 4, watermark });
        const scheduler = new Scheduler(manager, { maxRows: maxRunning + spareRows, ...settings });
        const live = new Set<string>();
        const priorityOf = (id: string) => requests[Number(id.slice(1))]!.priority;
        const started: string[] = []; // by rank: who has been admitted, though a short prompt may get rows sooner
        const rankOf = (id: string) => scheduler.get(id)!.rank;
        const left = new Map(requests.map((r, i) => [`r${i}`, r.maxNewTokens]));
        const work = requests.reduce((sum, r) => sum + r.prompt + r.maxNewTokens, 25);
        const bound = prefill === unlimited ? work : 4 * work;
        for (let now = 0; left.size > 0; now++) {
          expect(now).toBeLessThanOrEqual(bound);
          for (const [i, r] of requests.entries()) {
            const id = `r${i}`;
            if (r.arrival === now) {
              const { priority, tenant, maxNewTokens, scorePrompt } = r;
              const promptIds = range(r.prompt, r.family);
              scheduler.add({ id, promptIds, maxNewTokens, attention, priority, tenant, scorePrompt });
              live.add(id);
            }
            if (r.patience !== null && r.arrival + r.patience === now && scheduler.abort(id)) {
              live.delete(id);
              left.delete(id);
            }
          }
          const plan = scheduler.plan();
          expect(plan === null).toBe(live.size === 0);
          if (plan === null) continue;
          const planned = plan.sequences.map(({ requestId }) => requestId);
          const begun = [...live].filter((id) => !started.includes(id) && rankOf(id) < Number.POSITIVE_INFINITY);
          started.push(...begun.sort((a, b) => rankOf(a) - rankOf(b)));
          const top = Math.min(...[...live].map(priorityOf));
          const first = started.find((id) => live.has(id) && priorityOf(id) === top);
          expect(first).toBeDefined();
          if (prefill === unlimited) expect(planned).toContain(first);
          const rows = plan.sequences.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
          expect(rows).toBeLessThanOrEqual(maxRunning + spareRows);
          const results = plan.sequences
            .filter((s) => wantsToken(s, scheduler))
            .map(({ requestId, draft = [] }, i) => {
              expect(draft.length).toBeLessThan(left.get(requestId)!);
              const tokenIds = [...draft.slice(0, right[(now + i) % right.length]), now % 5];
              return { requestId, tokenIds, finished: left.get(requestId) === tokenIds.length };
            });
          const scored = plan.sequences.filter(({ logits, draft }) => logits === "all" && draft === undefined);
          expect(scored.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)).toBeLessThanOrEqual(maxScoredRows);
          scheduler.commit(results, now % 7 === 0 ? undefined : seconds[now % seconds.length]);
          for (const { requestId, tokenIds, finished } of results) {
            left.set(requestId, left.get(requestId)! - tokenIds.length);
            if (!finished) continue;
            left.delete(requestId);
            live.delete(requestId);
          }
          expect(checkInvariants(manager.snapshot())).toEqual([]);
        }
        // Who scores may have to wait for a step's logits while others go on.
        for (const group of ["0t", "0u", "1t", "1u"].flatMap((name) => [`${name}true`, `${name}false`])) {
          const own = started
            .map((id) => requests[Number(id.slice(1))]!)
            .filter((r) => `${r.priority}${r.tenant}${r.scorePrompt}` === group);
          const arrivals = own.map(({ arrival }) => arrival);
          expect([...arrivals].sort((a, b) => a - b)).toEqual(arrivals);
        }
        const { total, free, cached } = manager.counts;
        expect(free + cached).toBe(total);
        const { preemptions, draftTokens, acceptedDraftTokens } = scheduler.stats;
        seen.preemptions += preemptions;
        seen.accepted += acceptedDraftTokens;
        seen.refused += draftTokens - acceptedDraftTokens;
      }),
      { seed: 13, numRuns: 200 },
    );
    // The loads do press, and drafts do run.
    expect(seen.preemptions).toBeGreaterThan(30);
    expect(seen.accepted).toBeGreaterThan(100);
    expect(seen.refused).toBeGreaterThan(100);
  });
});

describe("requests that are held back", () => {
  test("run no rows, and the others run as if they were not there", () => {
    const { scheduler, add, step, commit } = setUp();
    add("a", [1, 2]);
    add("b", [3, 4]);
    expect(step()).toEqual(["a 2@0*", "b 2@0*"]);
    const plan = scheduler.plan(new Set(["a"]))!;
    expect(summary(plan)).toEqual(["b 1@2*"]);
    commit(plan);
    expect(step()).toEqual(["a 1@2*", "b 1@3*"]);
  });

  test("may be all there is", () => {
    const { scheduler, add, step } = setUp();
    add("a", [1, 2]);
    step();
    expect(scheduler.plan(new Set(["a"]))).toBeNull();
    expect(step()).toEqual(["a 1@2*"]);
  });

  test("are not let in again while they are, if they lost their blocks", () => {
    const { scheduler, add, commit } = setUp({ blocks: 4 });
    add("a", range(7), 9);
    add("b", range(7, 20), 9);
    commit(scheduler.plan()!);
    let plan = scheduler.plan(new Set(["b"]))!;
    while (plan.preempted.length === 0) {
      commit(plan);
      plan = scheduler.plan(new Set(["b"]))!;
    }
    expect(plan.preempted).toEqual(["b"]);
    commit(plan, ["a"]);
    expect(scheduler.plan(new Set(["b"]))).toBeNull();
    expect(summary(scheduler.plan()!)[0]).toMatch(/^b /);
  });
});
