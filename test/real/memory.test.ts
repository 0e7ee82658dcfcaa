/**
 * What a server of SmolLM2 takes: a process of its own is started on the graph in the cache, and asked once, so that all
 * weights have been read.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../attention/root.ts";
import { weightsFile } from "../../models/cache.ts";
import { loadModel } from "../../models/load.ts";
import { locateSmolLm2 } from "../support/smollm2.ts";

const located = locateSmolLm2();
const missing = "missing" in located ? located.missing : process.platform === "linux" ? "" : "needs Linux's /proc";
const CACHE_MB = 128;

/** Kilobytes of a line of /proc's status, as bytes. */
function status(pid: number, field: "VmRSS" | "RssAnon"): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return 1024 * Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text)![1]);
}

/** What a server says of the model when it is loaded. */
interface Loaded {
  readonly seconds: number;
  readonly parts: Readonly<Record<string, number>>;
  /** From the process's start on. */
  readonly sinceStart: number;
  readonly cacheMb: number;
}

describe.skipIf(missing !== "")(`memory of SmolLM2-135M-Instruct${missing && `: ${missing}`}`, () => {
  let server: ChildProcess;
  let loaded: Loaded;
  let url = "";
  let weightBytes = 0;

  beforeAll(async () => {
    const { path } = located as { readonly path: string };
    const model = await loadModel(path);
    weightBytes = statSync(join(dirname(model.graphPath), weightsFile)).size;
    expect(weightBytes).toBeLessThanOrEqual(statSync(path).size);
    const args = ["bin/sparq.mjs", "serve", path, "--port", "0", "--kv-cache-mb", String(CACHE_MB)];
    server = spawn(process.execPath, args, { cwd: packageRoot(), stdio: ["ignore", "ignore", "pipe"] });
    for await (const line of createInterface({ input: server.stderr! })) {
      const entry = line.startsWith("{") ? JSON.parse(line) : {};
      if (entry.url) url = entry.url;
      if (entry.msg !== "model loaded") continue;
      loaded = entry;
      break;
    }
    server.stderr!.resume();
    // What loading took has been given back by then.
    while ((await fetch(`${url}/health`)).status !== 200) await setTimeout(20);
  });

  afterAll(async () => {
    if (!server || server.exitCode !== null) return;
    server.kill();
    await once(server, "exit");
  });

  it("is at most 1.3 times the weights and the cache, and the weights are no memory of its own", async () => {
    const limit = 1.3 * weightBytes + loaded.cacheMb * 2 ** 20;
    const afterLoad = status(server.pid!, "VmRSS");
    expect(loaded.cacheMb).toBeLessThanOrEqual(CACHE_MB);
    expect(afterLoad).toBeLessThan(limit);
    const ownBefore = status(server.pid!, "RssAnon");
    const answer = await fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: "The capital of France is", max_tokens: 8, temperature: 0 }),
    });
    expect(answer.status).toBe(200);
    const [resident, own] = [status(server.pid!, "VmRSS"), status(server.pid!, "RssAnon")];
    // All of the file has been read by now, and a few blocks of the cache.
    expect(resident - afterLoad).toBeGreaterThan(0.9 * weightBytes);
    expect(own - ownBefore).toBeLessThan(0.5 * weightBytes);
    // Programs that are mapped (Node's, ONNX Runtime's and ours, 68 MB whatever the model) are in it, the cache's pages that no token has
    // touched are not.
    expect(resident).toBeLessThan(limit);
    // Found: 71 to 75 MB, of which V8's heap and the modules in it are 45, ONNX Runtime's table of operators is 10.
    expect(own).toBeLessThan(85e6);
    const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
    const parts = Object.entries(loaded.parts)
      .map(([name, seconds]) => `${name} ${seconds.toFixed(2)}`)
      .join(", ");
    console.log(
      `SmolLM2 from the cache in ${loaded.seconds.toFixed(2)} s (${parts}), ${loaded.sinceStart.toFixed(2)} s after the process began; weights ${megabytes(weightBytes)}, cache of ${megabytes(loaded.cacheMb * 2 ** 20)}, ` +
        `limit ${megabytes(limit)}: resident ${megabytes(afterLoad)} after loading, ${megabytes(resident)} after a request, of which ${megabytes(own)} its own`,
    );
  });
});
