import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { CliIo } from "../../server/cli/io.ts";
import { describeMachine, type Machine } from "../machine.ts";
import { ServerProcess } from "../server-process.ts";
import { ask, type Leaving } from "./client.ts";
import type { SoakOptions } from "./command.ts";
import { Ledger } from "./ledger.ts";
import { type MemoryReport, type MemorySample, memoryReport } from "./memory.ts";
import { Random } from "./random.ts";
import { type SoakRequest, Traffic } from "./traffic.ts";

const CONTEXT = 1536;
const flagsOf = ({ model, kvCacheMb }: SoakOptions) => [
  "--model",
  model,
  "--kv-cache-mb",
  String(kvCacheMb),
  "--max-context",
  String(CONTEXT),
  "--checked",
];
const RECURRING = 150;
const SAMPLE_MS = 2000;
/** How long the server may take to end what its last client left. */
const QUIET_MS = 30_000;

export interface SoakReport {
  readonly options: SoakOptions;
  readonly machine: Machine;
  readonly seconds: number;
  readonly counts: Ledger["counts"];
  readonly requests: { readonly different: number; readonly verified: number };
  readonly server: { readonly preemptions: number; readonly steps: number; readonly cachedPromptTokens: number };
  readonly memory: MemoryReport | null;
  readonly exitCode: number | string;
  /** What went wrong; empty for a sound server. */
  readonly problems: readonly string[];
}

/** Runs the load, then computes the answers again alone on a server that has seen nothing else. */
export async function runSoak(options: SoakOptions, io: CliIo): Promise<number> {
  const report = await soak(options, (line) => io.err(`${line}\n`), io.stop);
  if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
  io.out(`${describe(report)}\n`);
  return report.problems.length === 0 ? 0 : 1;
}

export async function soak(
  options: SoakOptions,
  progress: (line: string) => void,
  stop: AbortSignal = new AbortController().signal,
): Promise<SoakReport> {
  const traffic = new Traffic(new Random(options.seed), CONTEXT, RECURRING);
  const ledger = new Ledger();
  const started = performance.now();
  const server = await ServerProcess.start(flagsOf(options));
  let load: { memory: MemoryReport | null; stats: ServerStats };
  let exitCode: number | string;
  try {
    load = await loadServer(server, options, traffic, ledger, progress, stop);
  } finally {
    exitCode = await server.stop();
  }
  const problems: string[] = [];
  if (exitCode !== 0) problems.push(`the server ended with ${exitCode} after SIGTERM, not 0`);
  problems.push(...server.complaints.map((line) => `the server's log: ${line.slice(0, 500)}`));
  if (load.memory?.level === false) problems.push(`memory grew from ${load.memory.warmMb} to ${load.memory.endMb} MB`);
  const { running, waiting, blocks, preemptions, steps, cached_prompt_tokens } = load.stats;
  if (running + waiting + blocks.owned > 0 || blocks.free + blocks.cached !== blocks.total) {
    problems.push(`not all was given back: ${JSON.stringify({ running, waiting, blocks })}`);
  }
  const verified = await verify(options, traffic, ledger, progress, stop);
  return {
    options,
    machine: describeMachine(0),
    seconds: (performance.now() - started) / 1000,
    counts: ledger.counts,
    requests: { different: ledger.accounts.size, verified },
    server: { preemptions, steps, cachedPromptTokens: cached_prompt_tokens },
    memory: load.memory,
    exitCode,
    problems: [...ledger.problems, ...problems],
  };
}

interface ServerStats {
  readonly running: number;
  readonly waiting: number;
  readonly preemptions: number;
  readonly steps: number;
  readonly cached_prompt_tokens: number;
  readonly blocks: { readonly total: number; readonly free: number; readonly cached: number; readonly owned: number };
}

/** Clients ask until the time is over; then everything must come back. */
async function loadServer(
  server: ServerProcess,
  options: SoakOptions,
  traffic: Traffic,
  ledger: Ledger,
  progress: (line: string) => void,
  stop: AbortSignal,
) {
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;
  const isOver = () => seconds() >= 60 * options.minutes || stop.aborted || !server.running;
  const samples: MemorySample[] = [];
  const sampler = setInterval(() => {
    const bytes = server.memory();
    if (bytes !== null) samples.push({ seconds: seconds(), bytes });
    if (samples.length % 15 === 0) progress(`${seconds().toFixed(0)} s ${JSON.stringify(ledger.counts)}`);
  }, SAMPLE_MS);
  try {
    await Promise.all(
      Array.from({ length: options.clients }, async (_, i) => {
        const random = new Random(options.seed * 65_537 + i);
        while (!isOver()) {
          const request = traffic.next(random);
          const stream = random.chance(0.6);
          ledger.record(request, await ask(server.url, request, stream, leavingOf(random, stream)));
        }
      }),
    );
  } finally {
    clearInterval(sampler);
  }
  return { memory: memoryReport(samples), stats: await quietStats(server) };
}

/** A third of the clients leave: before the headers, in the prefill, or in the middle of a stream. */
function leavingOf(random: Random, stream: boolean): Leaving {
  if (!random.chance(0.33)) return null;
  if (!stream || random.chance(0.5)) return { afterMs: random.pick([0, 1, 5, 20, 100, 400]) };
  return { afterEvents: random.integer(0, 20) };
}

/** The server's figures once it has nothing to do, or after a while. */
async function quietStats({ url }: ServerProcess): Promise<ServerStats> {
  const deadline = performance.now() + QUIET_MS;
  for (;;) {
    const stats = (await (await fetch(`${url}/v1/sparq/stats`)).json()) as ServerStats;
    if (stats.running + stats.waiting + stats.blocks.owned === 0 || performance.now() > deadline) return stats;
    await sleep(100);
  }
}

/** All requests that came again and again, and a sample of the others. Returns how many. */
async function verify(
  options: SoakOptions,
  traffic: Traffic,
  ledger: Ledger,
  progress: (line: string) => void,
  stop: AbortSignal,
): Promise<number> {
  const accounts = [...ledger.accounts.values()].filter(({ answers, parts }) => answers.size + parts.length > 0);
  const isRecurring = ({ request }: { request: SoakRequest }) => traffic.isRecurring(request);
  const unique = accounts.filter((account) => !isRecurring(account));
  const every = Math.max(1, Math.ceil(unique.length / Math.max(1, options.verify)));
  const chosen = [...accounts.filter(isRecurring), ...unique.filter((_, i) => i % every === 0 && options.verify > 0)];
  progress(`computing ${chosen.length} answers again, alone`);
  const server = await ServerProcess.start(flagsOf(options));
  let done = 0;
  try {
    for (const account of chosen) {
      if (stop.aborted) break;
      ledger.compare(account, await ask(server.url, account.request, false, null));
      done += 1;
    }
  } finally {
    await server.stop();
  }
  return done;
}

function describe({ seconds, counts, requests, server, memory, exitCode, problems }: SoakReport): string {
  const remembered =
    memory === null
      ? "not measured"
      : `${memory.warmMb.toFixed(0)} MB warm, ${memory.endMb.toFixed(0)} MB at the end, ${memory.slopeMbPerMinute.toFixed(2)} MB a minute`;
  return [
    `${counts.answered} answered (${counts.tokens} tokens), ${counts.left} left (${counts.leftInStream} in a stream), ${counts.refused} refused as they must be, ${counts.busy} told to come later; ${seconds.toFixed(0)} s`,
    `${requests.different} different requests, ${requests.verified} computed again alone; ${server.preemptions} preemptions in ${server.steps} steps`,
    `memory: ${remembered}; exit code ${exitCode}`,
    problems.length === 0 ? "no problem found" : `${problems.length} problems, the first of them:`,
    ...problems.slice(0, 10).map((problem) => `- ${problem}`),
  ].join("\n");
}
