import { setImmediate as eventLoopTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { StepRunner } from "../../../server/engine/engine.ts";
import type { TokenEvent } from "../../../server/engine/types.ts";
import {
  alone,
  BLOCK,
  collect,
  idsOf,
  requestOf,
  scriptedEngine,
  setUp,
  simpleRunner,
  vocabSize,
} from "../../support/engine.ts";
import { FakeRunner } from "../../support/fake-model.ts";

describe("leaving", () => {
  const endless = requestOf("a", [3], { maxTokens: 60 });

  test("by abort frees the blocks at once, in the middle of a step too", async () => {
    const controller = new AbortController();
    const { engine } = setUp({
      beforeStep: (_, step) => {
        if (step !== 2) return;
        controller.abort(new Error("client gone"));
        expect(engine.stats()).toMatchObject({ running: 0, blocks: { owned: 0 } });
      },
    });
    const events: TokenEvent[] = [];
    const reading = (async () => {
      for await (const event of engine.generate(endless, controller.signal)) events.push(event);
    })();
    await expect(reading).rejects.toThrow("client gone");
    expect(events).toHaveLength(2);
    expect(engine.stats()).toMatchObject({ running: 0, generatedTokens: 2 });
  });

  test("by abort while its batch runs leaves a new request under its id alone", async () => {
    const controller = new AbortController();
    const again: Promise<unknown>[] = [];
    let steps = 0;
    const runner = simpleRunner(() => new Float32Array(vocabSize));
    const step: StepRunner["step"] = async (sequences) => {
      if (steps++ === 0) {
        controller.abort("gone");
        again.push(collect(engine, requestOf("r0", [0], { maxTokens: 2 })));
      }
      return runner.step(sequences);
    };
    const { engine } = setUp({ runner: { step, copyBlock: () => {}, close: () => {} } });
    const requests = Array.from({ length: 8 }, (_, i) => requestOf(`r${i}`, [0], { maxTokens: 1 }));
    const outcomes = await Promise.allSettled(
      requests.map((r, i) => collect(engine, r, i === 0 ? controller.signal : undefined)),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", ...new Array(7).fill("fulfilled")]);
    expect(await Promise.all(again)).toMatchObject([{ summary: { completionTokens: 2 } }]);
    expect(engine.stats()).toMatchObject({ running: 0, generatedTokens: 9 });
  });

  test("by abort works while waiting for blocks", async () => {
    const { engine } = setUp({ scheduler: { maxRunning: 1, maxRows: 8 } });
    const first = collect(engine, requestOf("first", [3], { maxTokens: 20 }));
    const controller = new AbortController();
    const second = collect(engine, requestOf("second", [4]), controller.signal);
    await eventLoopTurn();
    expect(engine.stats().waiting).toBe(1);
    controller.abort("impatient");
    await expect(second).rejects.toBe("impatient");
    expect(engine.stats().waiting).toBe(0);
    expect((await first).events).toHaveLength(20);
  });

  test("the loop frees the blocks", async () => {
    const { engine, runner } = setUp();
    for await (const _ of engine.generate(endless)) break;
    expect(engine.stats()).toMatchObject({ running: 0, blocks: { owned: 0 } });
    const steps = runner.steps.length;
    for (let turn = 0; turn < 20; turn++) await eventLoopTurn();
    expect(runner.steps.length).toBeLessThanOrEqual(steps + 1);
  });

  test("before the first token is asked for costs nothing", async () => {
    const { engine, runner } = setUp();
    await engine
      .generate(endless)
      .return({ promptTokens: 0, cachedPromptTokens: 0, completionTokens: 0, preemptions: 0 });
    expect(engine.stats().running).toBe(0);
    expect(runner.steps).toEqual([]);
  });
});

describe("a failed step", () => {
  test("rejects exactly the requests in it, with the cause; the engine lives on", async () => {
    const cause = new Error("out of memory");
    const { engine } = setUp({
      scheduler: { maxRunning: 2, maxRows: 8 },
      beforeStep: (_, step) => {
        if (step === 3) throw cause;
      },
    });
    const requests = ["a", "b", "c", "d"].map((id, i) => requestOf(id, [3, i]));
    const outcomes = await Promise.allSettled(requests.map((request) => collect(engine, request)));
    for (const outcome of outcomes.slice(0, 2)) {
      expect(outcome).toMatchObject({
        status: "rejected",
        reason: { code: "step_failed", message: "the step failed: out of memory", cause },
      });
    }
    for (const [i, outcome] of outcomes.slice(2).entries()) {
      expect(outcome.status === "fulfilled" && idsOf(outcome.value.events)).toEqual(alone(requests[i + 2]!));
    }
    expect(engine.stats()).toMatchObject({ running: 0, blocks: { owned: 0 } });
  });

  test("gives the tokens that came before it", async () => {
    const { engine } = setUp({
      beforeStep: (_, step) => {
        if (step === 2) throw new Error("broken");
      },
    });
    const events: TokenEvent[] = [];
    const reading = (async () => {
      for await (const event of engine.generate(requestOf("a", [3]))) events.push(event);
    })();
    await expect(reading).rejects.toThrow("the step failed: broken");
    expect(idsOf(events)).toEqual(alone(requestOf("a", [3])).slice(0, 2));
  });

  test("of every kind leaves later requests whole", async () => {
    const { engine } = setUp({
      beforeStep: (_, step) => {
        if (step % 3 === 1) throw new Error("every third");
      },
    });
    const promptIds = Array.from({ length: 11 }, (_, i) => i);
    for (let i = 0; i < 6; i++) {
      const request = requestOf(`r${i}`, promptIds, { maxTokens: 1 + (i % 2) });
      const [outcome] = await Promise.allSettled([collect(engine, request)]);
      if (outcome!.status === "fulfilled") expect(idsOf(outcome!.value.events)).toEqual(alone(request));
    }
    expect(engine.stats().blocks.owned).toBe(0);
  });

  test("is also one whose logits are no numbers, for that request alone", async () => {
    const runner = simpleRunner(({ denseUntil }) =>
      new Float32Array(vocabSize).fill(denseUntil === 1 ? Number.NaN : 1),
    );
    const { engine } = setUp({ runner });
    const [first, second] = await Promise.allSettled(
      [[3], [3, 4]].map((prompt, i) => collect(engine, requestOf(`r${i}`, prompt))),
    );
    expect(first).toMatchObject({
      status: "rejected",
      reason: { message: "the step failed: the model's logit for token 0 is NaN" },
    });
    expect(second).toMatchObject({ status: "fulfilled" });
  });

  test("that breaks the contract ends what was live, and the engine lives on", async () => {
    let steps = 0;
    const fake = new FakeRunner({ vocabSize, blocks: 64, blockSize: BLOCK });
    const step: StepRunner["step"] = async (sequences) => {
      const output = await fake.step(sequences);
      return steps++ === 1 ? { ...output, sampled: [] } : output;
    };
    const { engine } = setUp({
      runner: { step, copyBlock: () => {}, close: () => {} },
      scheduler: { maxRunning: 1, maxRows: 8 },
    });
    const requests = ["a", "b"].map((id) => collect(engine, requestOf(id, [3])));
    for (const outcome of await Promise.allSettled(requests)) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: "step_failed" } });
    }
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocks: { free: 64 } });
    const next = requestOf("a", [3, 4, 5, 6, 0]);
    expect(idsOf((await collect(engine, next)).events)).toEqual(alone(next));
  });
});

describe("the event loop", () => {
  test("gets a turn in every step, even with a model that never waits", async () => {
    const engine = scriptedEngine(new Array(50).fill(3));
    let turns = 0;
    let counting = true;
    const count = () => {
      turns += 1;
      if (counting) setImmediate(count);
    };
    setImmediate(count);
    await collect(engine, requestOf("a", [3], { maxTokens: 50 }));
    counting = false;
    expect(turns).toBeGreaterThanOrEqual(50);
  });
});

describe("close", () => {
  test("ends running and waiting requests, waits for the step in flight, then closes the runner", async () => {
    let release = () => {};
    let started = () => {};
    const inStep = new Promise<void>((resolve) => {
      started = resolve;
    });
    const { engine, runner } = setUp({
      scheduler: { maxRunning: 1, maxRows: 8 },
      beforeStep: () => {
        started();
        return new Promise<void>((resolve) => {
          release = resolve;
        });
      },
    });
    const requests = ["a", "b"].map((id) => collect(engine, requestOf(id, [3])));
    const outcomes = Promise.allSettled(requests);
    await inStep;
    const closing = engine.close();
    expect(await outcomes).toMatchObject([
      { status: "rejected", reason: { code: "closed" } },
      { status: "rejected", reason: { code: "closed" } },
    ]);
    expect(runner.closed).toBe(false);
    release();
    await closing;
    expect(runner.closed).toBe(true);
    await expect(collect(engine, requestOf("c", [3]))).rejects.toMatchObject({
      code: "closed",
      message: "the engine is closed",
    });
    await engine.close();
  });

  test("of an idle engine", async () => {
    const { engine, runner } = setUp();
    await collect(engine, requestOf("a", [3]));
    await engine.close();
    expect(runner.closed).toBe(true);
  });
});

test("a sequence that could not run fails alone, also in a part of its prompt that brings no token", async () => {
  const inner = new FakeRunner({ vocabSize, blocks: 64, blockSize: BLOCK });
  const faultOf = (id: string, contextLength: number) => {
    if (id === "late" && contextLength > 5) return new Error("no memory");
    return id === "prompt" && contextLength > 0 ? new Error("no such token") : undefined;
  };
  const step: StepRunner["step"] = async (sequences) => {
    const { sampled, ...output } = await inner.step(sequences);
    const errors = sequences.map(({ requestId, contextLength }) => faultOf(requestId, contextLength));
    return { ...output, errors, sampled: sampled.map((rows, i) => (errors[i] === undefined ? rows : [])) };
  };
  const runner = { step, copyBlock: inner.copyBlock.bind(inner), close: () => {} };
  const { engine } = setUp({ runner, scheduler: { maxRunning: 4, maxRows: 8 } });
  const fine = requestOf("fine", [3, 4], { maxTokens: 12 });
  const long = Array.from({ length: 30 }, (_, i) => i % vocabSize);
  const late = collect(engine, requestOf("late", [1, 2], { maxTokens: 12 }));
  const prompt = collect(engine, requestOf("prompt", long, { maxTokens: 2 }));
  const others = Promise.all([
    expect(late).rejects.toMatchObject({ code: "step_failed", message: expect.stringContaining("no memory") }),
    expect(prompt).rejects.toMatchObject({ code: "step_failed", message: expect.stringContaining("no such token") }),
  ]);
  expect(idsOf((await collect(engine, fine)).events)).toEqual(alone(fine));
  await others;
  expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocks: { owned: 0 } });
  expect((await collect(engine, requestOf("again", [1, 2], { maxTokens: 3 }))).events).toHaveLength(3);
});
