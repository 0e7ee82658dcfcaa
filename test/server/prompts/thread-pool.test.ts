import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { ThreadPool } from "../../../server/prompts/thread-pool.ts";

/**
 * Doubles numbers. "hold" is answered when the shared word is no longer 0; "exit", "throw" end the thread in two ways.
 */
const SCRIPT = `
  const { parentPort, workerData } = require("node:worker_threads");
  parentPort.on("message", (message) => {
    if (message === "exit") process.exit(3);
    if (message === "throw") throw new Error("out of luck");
    if (message === "hold") Atomics.wait(new Int32Array(workerData), 0, 0);
    parentPort.postMessage(message === "hold" ? "held" : 2 * message);
  });
`;

let pool: ThreadPool<unknown, unknown>;
afterEach(() => pool.close());

function start({ threads = 1, maxQueued = 100 } = {}) {
  const word = new SharedArrayBuffer(4);
  let spawned = 0;
  pool = new ThreadPool({
    threads,
    maxQueued,
    spawn: () => {
      spawned += 1;
      return new Worker(SCRIPT, { eval: true, workerData: word });
    },
  });
  const release = () => {
    Atomics.store(new Int32Array(word), 0, 1);
    Atomics.notify(new Int32Array(word), 0);
  };
  return { pool, release, spawned: () => spawned };
}

describe("ThreadPool", () => {
  it("answers each task with its own reply, from as many threads as it may have", async () => {
    const { spawned } = start({ threads: 2 });
    expect(spawned()).toBe(0);
    const replies = await Promise.all(Array.from({ length: 50 }, (_, i) => pool.run(i)));
    expect(replies).toEqual(Array.from({ length: 50 }, (_, i) => 2 * i));
    expect(spawned()).toBe(2);
    expect(pool.counts).toEqual({ queued: 0, running: 0 });
  });

  it("keeps the event loop turning while a thread works", async () => {
    const { release } = start();
    const held = pool.run("hold");
    for (let turns = 0; turns < 100; turns++) await new Promise(setImmediate);
    expect(pool.counts.running).toBe(1);
    release();
    expect(await held).toBe("held");
  });

  it("drops what waits when its client leaves, and the reply of what runs", async () => {
    const { release } = start();
    const [first, second] = [new AbortController(), new AbortController()];
    const running = pool.run("hold", first.signal);
    const waiting = pool.run("exit", second.signal);
    const last = pool.run(4);
    expect(pool.counts).toEqual({ queued: 2, running: 1 });
    second.abort(new Error("left while waiting"));
    await expect(waiting).rejects.toThrow("left while waiting");
    expect(pool.counts.queued).toBe(1);
    first.abort(new Error("left while running"));
    await expect(running).rejects.toThrow("left while running");
    release();
    expect(await last).toBe(8);
    await expect(pool.run(1, AbortSignal.abort(new Error("left before")))).rejects.toThrow("left before");
  });

  it("refuses what its queue has no room for", async () => {
    const { release } = start({ maxQueued: 2 });
    const tasks = [pool.run("hold"), pool.run(1), pool.run(2)];
    await expect(pool.run(3)).rejects.toMatchObject({ code: "queue_full", message: expect.stringContaining("2") });
    release();
    expect(await Promise.all(tasks)).toEqual(["held", 2, 4]);
    expect(await pool.run(3)).toBe(6);
  });

  it.each([
    ["exit", /ended with code 3/],
    ["throw", /ended with code 1/],
  ])("rejects only the task that a thread dies of (%s), and starts another thread", async (fatal, message) => {
    const { spawned } = start();
    expect(await pool.run(1)).toBe(2);
    const results = await Promise.allSettled([pool.run(fatal), pool.run(5)]);
    expect(results[0]).toMatchObject({ status: "rejected", reason: { message: expect.stringMatching(message) } });
    expect(results[1]).toEqual({ status: "fulfilled", value: 10 });
    expect(spawned()).toBe(2);
  });

  it("rejects a task that cannot be sent, and lives on", async () => {
    start();
    await expect(pool.run(() => {})).rejects.toThrow(/could not be cloned/);
    expect(await pool.run(1)).toBe(2);
  });

  it("rejects everything when it closes, and takes nothing after", async () => {
    start();
    const tasks = [pool.run("hold"), pool.run(1)].map((task) => task.catch((error) => error.code));
    await pool.close();
    expect(await Promise.all(tasks)).toEqual(["closed", "closed"]);
    await expect(pool.run(1)).rejects.toMatchObject({ code: "closed" });
  });
});
