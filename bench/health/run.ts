import { writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { defaultThreads } from "../../attention/threads.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { describeMachine, type Machine } from "../machine.ts";
import { ServerProcess } from "../server-process.ts";
import { median, quantile } from "../statistics.ts";
import type { HealthOptions } from "./command.ts";

/** Between a probe's answer and the next probe. */
const PAUSE_MS = 5;
const IDLE_MS = 5000;
/** Words of three to eight letters, as prose has them. */
const WORDS = "the house stood near a river where people walked every morning before anybody else was awake and".split(
  " ",
);

interface Phase {
  readonly name: string;
  readonly probes: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly mostMs: number;
  /** Texts that were tokenised meanwhile. */
  readonly texts: number;
}

export interface HealthReport {
  readonly machine: Machine;
  readonly options: HealthOptions;
  readonly prefillSeconds: number;
  readonly phases: readonly Phase[];
}

/** Starts a server, and probes it from this process: idle, with a prompt that prefills, and with huge texts as well. */
export async function runHealth(options: HealthOptions, io: CliIo): Promise<number> {
  const server = await ServerProcess.start(["--model", options.model]);
  try {
    const report = await measure(server.url, options, io);
    io.out(tableOf(report));
    if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
    return 0;
  } finally {
    await server.stop();
  }
}

async function measure(url: string, options: HealthOptions, io: CliIo): Promise<HealthReport> {
  const text = JSON.stringify({ prompt: textOf(options.megabytes * 1e6) });
  // Made ready before anything is timed: what this process does meanwhile would count as the server's.
  const body = Buffer.from(text);
  await post(`${url}/tokenize`, Buffer.from(JSON.stringify({ prompt: textOf(10_000) })));

  const idle = await phase(url, "idle", sleep(IDLE_MS));
  io.err(`prefilling ${options.prompt} tokens\n`);
  let started = performance.now();
  const alone = await phase(url, "prefill", complete(url, options.prompt, 1));
  const prefillSeconds = (performance.now() - started) / 1000;

  io.err("the same with huge texts\n");
  started = performance.now();
  const prompt = complete(url, options.prompt, 2);
  let running = true;
  let texts = 0;
  const flood = (async () => {
    while (running) {
      await post(`${url}/tokenize`, body);
      texts += 1;
    }
  })();
  const both = await phase(url, `prefill and texts of ${options.megabytes} MB`, prompt);
  running = false;
  await flood;
  return {
    machine: describeMachine(defaultThreads()),
    options,
    prefillSeconds,
    phases: [idle, alone, { ...both, texts }],
  };
}

/** Probes until `until` is there. */
async function phase(url: string, name: string, until: Promise<unknown>): Promise<Phase> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const times: number[] = [];
  let running = true;
  const ended = until.finally(() => {
    running = false;
  });
  while (running) {
    times.push(await probe(`${url}/health`, agent));
    await sleep(PAUSE_MS);
  }
  await ended;
  agent.destroy();
  const most = Math.max(...times);
  return { name, probes: times.length, medianMs: median(times), p99Ms: quantile(times, 0.99), mostMs: most, texts: 0 };
}

/** Milliseconds until the answer is there. */
function probe(url: string, agent: Agent): Promise<number> {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const request = get(url, { agent }, (response) => {
      response.resume();
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200) resolve(performance.now() - started);
        else reject(new Error(`/health answered ${response.statusCode}`));
      });
    });
    request.on("error", reject);
  });
}

/** A prompt of so many tokens, different for each `seed`, and one token more. */
async function complete(url: string, tokens: number, seed: number): Promise<void> {
  const prompt = Array.from({ length: tokens }, (_, i) => 300 + ((i * 7919 + seed * 104_729) % 700));
  await post(`${url}/v1/completions`, Buffer.from(JSON.stringify({ prompt, max_tokens: 1, ignore_eos: true })));
}

async function post(url: string, body: Buffer<ArrayBuffer>): Promise<void> {
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  // Its bytes alone: to parse a list of a million tokens would hold up the probes.
  const answer = await response.arrayBuffer();
  if (!response.ok)
    throw new Error(`${url} answered ${response.status}: ${Buffer.from(answer).toString().slice(0, 300)}`);
}

function textOf(bytes: number): string {
  const words: string[] = [];
  for (let length = 0, i = 0; length < bytes; i++) {
    words.push(WORDS[(i * 31 + Math.floor(i / 7)) % WORDS.length]!);
    length += words.at(-1)!.length + 1;
  }
  return words.join(" ");
}

function tableOf({ phases, prefillSeconds, options }: HealthReport): string {
  const rows = phases.map(({ name, probes, medianMs, p99Ms, mostMs, texts }) =>
    [name, probes, texts, medianMs.toFixed(1), p99Ms.toFixed(1), mostMs.toFixed(1)].join(" | "),
  );
  return [
    `a prompt of ${options.prompt} tokens alone: ${prefillSeconds.toFixed(1)} s`,
    "| | probes | texts | median, ms | p99 | longest |",
    "|---|---|---|---|---|---|",
    ...rows.map((row) => `| ${row} |`),
    "",
  ].join("\n");
}
