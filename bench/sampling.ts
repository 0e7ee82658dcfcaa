/** Time to sample a batch's rows, native against the TypeScript reference: node dist/bench/sampling.js --json FILE */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { Command } from "commander";
import { loadAddon } from "../attention/binding.ts";
import { greedySampling, packSampling } from "../attention/sampling.ts";
import { Sampler } from "../attention/sampling-reference.ts";
import { defaultThreads } from "../attention/threads.ts";
import type { RowSampling } from "../attention/types.ts";
import { RandomStream } from "../server/engine/random.ts";

interface Result {
  readonly vocabulary: number;
  readonly setting: string;
  /** Median wall time of a batch, milliseconds. */
  readonly nativeMs: number;
  readonly referenceMs: number;
  /** Rows whose native token is the reference's: not all, since a draw may fall within rounding of a boundary. */
  readonly agreeing: number;
}

const options = new Command()
  .description("Median time to sample a batch of rows, native and in TypeScript in turn")
  .option("--rows <n>", "rows of logits", "16")
  .option("--vocabularies <list>", "sizes, separated by commas", "49152,151936")
  .option("--spread <x>", "standard deviation of the normally distributed logits", "3")
  .option("--rounds <n>", "batches of each kind, in turn", "31")
  .option("--threads <n>", "default: what the container allows")
  .option("--json <file>", "write the results there too")
  .parse()
  .opts<{ rows: string; vocabularies: string; spread: string; rounds: string; threads?: string; json?: string }>();

const addon = loadAddon();
const path = addon.defaultPath();
const rows = Number(options.rows);
const threads = options.threads === undefined ? defaultThreads() : Number(options.threads);
const random = new RandomStream(1);
let draws = 0;

const settings: readonly (readonly [string, Partial<RowSampling>])[] = [
  ["greedy", { temperature: 0 }],
  ["temperature 0.8", {}],
  ["temperature 0.8, top_p 0.95", { topP: 0.95 }],
  ["temperature 0.8, top_k 50", { topK: 50 }],
  ["temperature 0.8, top_k 50, top_p 0.95", { topK: 50, topP: 0.95 }],
  ["temperature 0.8, min_p 0.05", { minP: 0.05 }],
  ["temperature 2, top_p 0.95", { temperature: 2, topP: 0.95 }],
  ["greedy, penalties over 1000 tokens", { temperature: 0, repetitionPenalty: 1.1, frequencyPenalty: 0.1 }],
  ["temperature 0.8, logprobs 5", { logprobs: 5 }],
];

const results: Result[] = [];
for (const size of options.vocabularies.split(",").map(Number)) {
  const logits = Float32Array.from({ length: rows * size }, normal);
  for (const [name, changes] of settings) results.push(measure(size, logits, name, changes));
}
print(results);
if (options.json) {
  const machine = { cpu: cpus()[0]?.model, threads, path };
  const setup = { rows, spread: Number(options.spread) };
  writeFileSync(options.json, `${JSON.stringify({ machine, ...setup, results }, null, 2)}\n`);
}

function normal(): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random.uniform(draws++)));
  return Number(options.spread) * radius * Math.cos(2 * Math.PI * random.uniform(draws++));
}

function measure(size: number, logits: Float32Array, setting: string, changes: Partial<RowSampling>): Result {
  const counts = Int32Array.from({ length: 2000 }, (_, i) => (i % 2 === 0 ? (i * 17) % size : i % 3));
  const sampler = new Sampler(size);
  const times = { native: [] as number[], reference: [] as number[] };
  let agreeing = 0;
  const rounds = Number(options.rounds);
  for (let round = -2; round < rounds; round++) {
    const batch = Array.from({ length: rows }, (): RowSampling => {
      return { ...greedySampling, temperature: 0.8, counts, uniform: random.uniform(draws++), ...changes };
    });
    const sampled = addon.sample(path, threads, size, logits, packSampling([...batch.keys()], batch));
    const started = performance.now();
    const tokens = batch.map((row, i) => sampler.sample(logits.subarray(i * size, (i + 1) * size), row).tokenId);
    const elapsed = performance.now() - started;
    if (round < 0) continue;
    times.native.push(sampled.seconds * 1000);
    times.reference.push(elapsed);
    agreeing += tokens.filter((token, i) => token === sampled.tokenIds[i]).length;
  }
  const [nativeMs, referenceMs] = [median(times.native), median(times.reference)];
  return { vocabulary: size, setting, nativeMs, referenceMs, agreeing: agreeing / (rounds * rows) };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

function print(results: readonly Result[]): void {
  console.log(`${rows} rows, ${path}, ${threads} threads\n`);
  console.log("| vocabulary | setting | native ms | TypeScript ms | ratio | same tokens |");
  console.log("|---|---|---|---|---|---|");
  for (const { vocabulary, setting, nativeMs, referenceMs, agreeing } of results) {
    const cells = [vocabulary, setting, nativeMs.toFixed(3), referenceMs.toFixed(2)];
    const ratio = `${(referenceMs / nativeMs).toFixed(0)}x`;
    console.log(`| ${[...cells, ratio, `${(100 * agreeing).toFixed(1)} %`].join(" | ")} |`);
  }
}
