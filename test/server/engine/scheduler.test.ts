import { describe, expect, test } from "vitest";
import { checkInvariants } from "../../../kvcache/invariants.ts";
import { attention, range, setUp, summary } from "../../support/scheduler.ts";

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

describe("a prompt of which only the beginning attends densely", () => {
  test("says so to the step, and shares no more than that", () => {
    const { add, step, scheduler, commit } = setUp({}, { maxRows: 30 });
    add("a", range(11), 2, { denseTokens: 9 });
    const plan = scheduler.plan()!;
    expect(plan.sequences[0]).toMatchObject({ denseUntil: 9, contextLength: 0, logits: "last", attention });
    commit(plan, ["a"]);
    // Two blocks of four lie within the nine tokens; the third is the request's own, though all eleven were computed.
    add("b", range(14), 2);
    expect(step(["b"])).toEqual(["b 6@8*"]);
    add("c", range(11), 2, { denseTokens: 0 });
    expect(step(["c"])).toEqual(["c 11@0*"]);
  });

  test("has no choices", () => {
    const { add, step } = setUp({}, { maxRows: 30 });
    const promptIds = range(6);
    for (const id of ["a", "b"]) add(id, promptIds, 2, { denseTokens: 5, batch: "ab" });
    expect(step(["a", "b"])).toEqual(["a 6@0*"]);
    expect(step(["b"])).toEqual(["b 2@4*"]);
  });

  test("attends densely up to minContext all the same", () => {
    const { scheduler, commit } = setUp({}, { maxRows: 30 });
    const settings = { ...attention, minContext: 8 };
    scheduler.add({ id: "a", promptIds: range(12), maxNewTokens: 2, attention: settings, denseTokens: 3 });
    for (const [rows, mode] of [
      [7, "dense"],
      [5, "sparq"],
    ] as const) {
      const plan = scheduler.plan()!;
      expect(plan.sequences.map(({ tokenIds, attention }) => [tokenIds.length, attention.mode])).toEqual([
        [rows, mode],
      ]);
      commit(plan);
    }
  });
});
