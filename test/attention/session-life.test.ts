/** Sessions side by side, in a row, beside onnxruntime-node's own, and when their process or thread ends. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { promisify } from "node:util";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { addonPath, runtimeLibraryPath } from "../../attention/binding.ts";
import { packStep } from "../../attention/pack.ts";
import { openSession } from "../../attention/session.ts";
import type { StepSequence } from "../../attention/types.ts";
import { DataType, encodeModel, floatTensor, makeModel, makeNode, makeValueInfo } from "../../models/onnx/proto.ts";
import { dense } from "../contract/attention-fixture.ts";
import { graphFolder } from "./graph-files.ts";
import { decoderModel, makeDecoder, tinyShape } from "./tiny-decoder.ts";

const graphs = graphFolder();
const graphPath = graphs.write("tiny.onnx", decoderModel(makeDecoder()));
const open = (path = graphPath, config = tinyShape) =>
  openSession({ graphPath: path, config, blocks: 64, threads: 2, spinning: false });

/** A prompt of `rows` tokens: enough of them keep a step busy for a while. */
function prompt(rows: number): StepSequence[] {
  const tokenIds = Array.from({ length: rows }, (_, i) => i % tinyShape.vocabSize);
  const blockTable = Array.from({ length: Math.ceil(rows / 64) }, (_, i) => i);
  return [{ tokenIds, contextLength: 0, blockTable, attention: dense, denseUntil: rows, logits: "last" }];
}

describe("a running step", () => {
  it("refuses a second one and is not disturbed by it", async () => {
    const session = await open();
    const [expected] = (await session.step(prompt(2000))).logits;
    const first = session.step(prompt(2000));
    const second = session.step(prompt(1)).then(
      () => "ran",
      (error: Error) => error.message,
    );
    expect(await second).toBe("a step of this session is running; steps must not overlap");
    expect((await first).logits[0]).toEqual(expected);
    // Afterwards the session is free again.
    expect((await session.step(prompt(2000))).logits[0]).toEqual(expected);
    session.close();
  });

  it("leaves the event loop free", async () => {
    const session = await open();
    let turns = 0;
    let running = true;
    const step = session.step(prompt(3000)).finally(() => {
      running = false;
    });
    while (running) {
      await turn();
      turns++;
    }
    await step;
    expect(turns).toBeGreaterThan(3);
    session.close();
  });

  it("ends first when its session is closed, and its result stands", async () => {
    const session = await open();
    const [expected] = (await session.step(prompt(1500))).logits;
    const step = session.step(prompt(1500));
    session.close();
    session.close();
    expect((await step).logits[0]).toEqual(expected);
    await expect(session.step(prompt(1))).rejects.toThrow("the session is closed");
    expect(session.session.layers).toBe(2);
  });

  it("keeps others from its store's blocks", async () => {
    const session = await open();
    const step = session.step(prompt(1500));
    expect(() => session.store.copyBlock(60, 61)).toThrow("copyBlock while a step runs on the store");
    await step;
    session.store.copyBlock(60, 61);
    session.close();
  });
});

describe("sessions", () => {
  it("run at the same time, each on its own store", async () => {
    const sessions = await Promise.all([open(), open(), open()]);
    const results = await Promise.all(sessions.map((session) => session.step(prompt(500))));
    for (const { logits } of results) expect(logits).toEqual(results[0]!.logits);
    for (const session of sessions) session.close();
  });

  it("keep their store after it was closed", async () => {
    const session = await open();
    const { logits } = await session.step(prompt(100));
    session.store.close();
    expect((await session.step(prompt(100))).logits).toEqual(logits);
    session.close();
  });

  it("work beside onnxruntime-node's own, opened before, between and after", async () => {
    const bytes = encodeModel(
      makeModel({
        name: "scale",
        nodes: [makeNode("Mul", ["x", "three"], ["y"])],
        initializers: [floatTensor("three", [], Float32Array.of(3))],
        inputs: [makeValueInfo("x", DataType.FLOAT, ["n"])],
        outputs: [makeValueInfo("y", DataType.FLOAT, ["n"])],
        opsets: { "": 13 },
      }),
    );
    const scale = async (session: InferenceSession) =>
      (await session.run({ x: new Tensor("float32", Float32Array.of(1, 2), [2]) })).y!.data;
    const before = await InferenceSession.create(bytes, { intraOpNumThreads: 1 });
    expect(await scale(before)).toEqual(Float32Array.of(3, 6));
    const ours = await open();
    const [expected] = (await ours.step(prompt(200))).logits;
    const between = await InferenceSession.create(bytes, { intraOpNumThreads: 1 });
    const [step, ...scaled] = await Promise.all([ours.step(prompt(200)), scale(before), scale(between)]);
    expect(step.logits[0]).toEqual(expected);
    expect(scaled).toEqual([Float32Array.of(3, 6), Float32Array.of(3, 6)]);
    await before.release();
    ours.close();
    const after = await InferenceSession.create(bytes, { intraOpNumThreads: 1 });
    expect(await scale(after)).toEqual(Float32Array.of(3, 6));
    expect(await scale(between)).toEqual(Float32Array.of(3, 6));
    await Promise.all([between.release(), after.release()]);
  });

  it.skipIf(process.platform !== "linux")(
    "open and close 20 times without leaving threads or memory behind",
    async () => {
      // 8 MB of weights, and a pool thread for each session: 20 of either would show. (Node's own threads come and go.)
      const shape = { ...tinyShape, hidden: 512, ffn: 512 };
      const path = graphs.write("large.onnx", decoderModel(makeDecoder(shape)));
      const cycle = async () => {
        const session = await open(path, shape);
        await session.step(prompt(70));
        session.close();
      };
      for (let i = 0; i < 3; i++) await cycle();
      const before = { threads: threadCount(), bytes: process.memoryUsage.rss() };
      for (let i = 0; i < 20; i++) await cycle();
      expect(threadCount()).toBeLessThan(before.threads + 20);
      expect(process.memoryUsage.rss() - before.bytes).toBeLessThan(100 * 2 ** 20);
    },
  );
});

/** Threads of this process, as the kernel counts them. */
function threadCount(): number {
  return Number(/^Threads:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))![1]);
}

describe("a process", () => {
  const { layers, kvHeads, headDim, vocabSize } = tinyShape;
  const shape = { layers, kvHeads, headDim, blockSize: 64, blocks: 64 };
  const options = { libraryPath: runtimeLibraryPath(), graphPath, vocabSize, threads: 2, spinning: true };
  const fields = Object.entries(packStep(prompt(2000)).input).map(
    ([name, array]) => `${name}: Int32Array.of(${array})`,
  );
  /** What every script begins with: it runs in plain Node, with nothing but the addon. */
  const begin = `
    const addon = require(${JSON.stringify(addonPath())});
    const input = { ${fields.join(", ")} };
    const newStore = () => addon.createKvStore(${JSON.stringify(shape)});
    const load = (store = newStore()) => addon.loadSession({ ...${JSON.stringify(options)}, store });`;
  /** Opens a session, starts a step, and goes on with `rest`. */
  const stepping = (rest: string) => `${begin}
    const store = newStore();
    load(store).then(async (session) => {
      const step = session.step(input);
      ${rest}
    });`;
  const inChild = (code: string, env: NodeJS.ProcessEnv = process.env) =>
    promisify(execFile)(process.execPath, ["--expose-gc", "-e", code], { env }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      (error: { code: number | null; signal: string; stdout: string; stderr: string }) => error,
    );

  it.each([
    ["with an open session", "await step; console.log('done');", 0, "done\n"],
    ["with a closed session", "await step; session.close(); store.close(); console.log('done');", 0, "done\n"],
    ["in the middle of a step", "process.exit(3);", 3, ""],
    ["in the middle of a step of a closed session", "session.close(); process.exit(4);", 4, ""],
    ["with nobody waiting for the step", "console.log('left');", 0, "left\n"],
  ])("exits cleanly %s", async (_, rest, code, stdout) => {
    expect(await inChild(stepping(rest))).toMatchObject({ code, stdout, stderr: "" });
  });

  it("outlives worker threads that end with an open session, or in the middle of a step", async () => {
    const post = 'require("node:worker_threads").parentPort.postMessage("stepping");';
    const code = `
      const { Worker } = require("node:worker_threads");
      const { once } = require("node:events");
      const start = () => new Worker(${JSON.stringify(stepping(`${post} await step;`))}, { eval: true });
      (async () => {
        for (let i = 0; i < 2; i++) await once(start(), "exit");
        for (let i = 0; i < 3; i++) {
          const worker = start();
          await once(worker, "message");
          await worker.terminate();
        }
        console.log("done");
      })();`;
    expect(await inChild(code)).toMatchObject({ code: 0, stdout: "done\n", stderr: "" });
  });

  it("may drop stores, sessions and results in any order", async () => {
    const code = `${begin}
      (async () => {
        let previous;
        for (let i = 0; i < 5; i++) {
          let session = await load();
          const step = session.step(input);
          session = undefined;
          gc();
          const { logits } = await step;
          gc();
          if (previous && !previous.every((value, j) => value === logits[j])) throw new Error("logits changed");
          previous = logits;
          load();
        }
        console.log("done");
      })();`;
    expect(await inChild(code)).toMatchObject({ code: 0, stdout: "done\n", stderr: "" });
  });

  it("says which SPARQ_ISA it cannot use", async () => {
    const code = `${begin} load().catch((error) => console.log(error.message));`;
    const { stdout } = await inChild(code, { ...process.env, SPARQ_ISA: "mmx" });
    expect(stdout).toContain('SPARQ_ISA is "mmx"; this machine can run: ');
  });
});
