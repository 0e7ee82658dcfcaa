/**
 * Time of a step without attention, that is of the linears and the little between them, by number of rows: sparq.QLinear
 * and MatMulNBits in turn, beside what reading the weights once would take.
 * node dist/bench/linear.js --model smollm2-135m-instruct --json FILE
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { Command } from "commander";
import { loadAddon } from "../attention/binding.ts";
import { defaultAttention } from "../attention/defaults.ts";
import { openSession, type Session } from "../attention/session.ts";
import { defaultThreads } from "../attention/threads.ts";
import type { StepSequence } from "../attention/types.ts";
import { type Activations, activationKinds, type Linears, linearKinds } from "../models/builder/style.ts";
import { loadModel } from "../models/load.ts";
import type { ModelConfig } from "../models/types.ts";

interface Result {
  readonly linears: Linears;
  readonly activations: Activations;
  readonly rows: number;
  /** Rows of logits: all up to DECODE_ROWS, else one for each chunk of a prompt. */
  readonly logitRows: number;
  /** Median wall time of a step, milliseconds. */
  readonly ms: number;
  /** The quickest, milliseconds. */
  readonly leastMs: number;
  /** Bytes of weights a second. */
  readonly bytesPerSecond: number;
}

interface Variant {
  readonly linears: Linears;
  readonly activations: Activations;
  readonly session: Session;
  readonly bytes: number;
}

/** Up to here every row is a sequence that decodes its first token; more rows are chunks of prompts. */
const DECODE_ROWS = 64;
const CHUNK = 64;
/** Memory that the bandwidth is measured on: more than caches hold. */
const BANDWIDTH_BYTES = 2 ** 28;

const options = new Command()
  .description("Median time of a step without attention by number of rows, and the memory's speed in the same run")
  .option("--model <name|path>", "a GGUF model", "smollm2-135m-instruct")
  .option("--rows <list>", "numbers of rows, separated by commas", "1,2,4,8,16,32,64,512")
  .option("--linears <list>", "what to compare", linearKinds.join(","))
  .option("--activations <list>", "what to compare", "int8x2")
  .option("--rounds <n>", "steps of each kind, in turn; fewer with many rows", "31")
  .option("--threads <n>", "default: what the container allows")
  .option("--json <file>", "write the results there too")
  .parse()
  .opts<
    Record<"model" | "rows" | "linears" | "activations" | "rounds", string> & { threads?: string; json?: string }
  >();

const threads = options.threads === undefined ? defaultThreads() : Number(options.threads);
const rowCounts = options.rows.split(",").map(Number);
const blocks = Math.max(DECODE_ROWS, ...rowCounts.map((rows) => Math.ceil(rows / CHUNK)));
const variants: Variant[] = [];
let config: ModelConfig | undefined;
for (const linears of chosen(options.linears, linearKinds)) {
  for (const activations of chosen(options.activations, activationKinds)) {
    const model = await loadModel(options.model, { linears, activations });
    if (model.report.format !== "gguf") throw new Error(`${options.model} is no GGUF: it has no quantised linears`);
    config = model.config;
    const session = await openSession({ graphPath: model.graphPath, config, blocks, threads });
    variants.push({ linears, activations, session, bytes: model.report.weightBytes });
  }
}
const attention = { ...defaultAttention(config!), mode: "dense" as const };

const before = loadAddon().readBandwidth(BANDWIDTH_BYTES, threads);
const results: Result[] = [];
for (const rows of rowCounts) results.push(...(await measure(rows)));
const after = loadAddon().readBandwidth(BANDWIDTH_BYTES, threads);
const readBandwidth = Math.max(before, after);
for (const { session } of variants) session.close();
print();
if (options.json) {
  const machine = { cpu: cpus()[0]?.model, threads, path: loadAddon().defaultPath(), readBandwidth };
  const weights = variants.map(({ linears, activations, bytes }) => ({ linears, activations, bytes }));
  writeFileSync(options.json, `${JSON.stringify({ machine, model: options.model, weights, results }, null, 2)}\n`);
}

function chosen<Kind extends string>(list: string, kinds: readonly Kind[]): Kind[] {
  return list.split(",").map((name) => {
    const kind = kinds.find((known) => known === name);
    if (!kind) throw new RangeError(`unknown kind "${name}"; known: ${kinds.join(", ")}`);
    return kind;
  });
}

async function measure(rows: number): Promise<Result[]> {
  const sequences = sequencesOf(rows);
  const rounds = Math.max(3, Math.ceil(Number(options.rounds) / Math.max(1, rows / 16)));
  const times = variants.map((): number[] => []);
  for (let round = -1; round < rounds; round++) {
    for (const [i, { session }] of variants.entries()) {
      const { seconds } = await session.step(sequences);
      if (round >= 0) times[i]!.push(seconds * 1000);
    }
  }
  return variants.map(({ linears, activations, bytes }, i) => {
    const sorted = times[i]!.sort((a, b) => a - b);
    const ms = sorted[Math.floor(sorted.length / 2)]!;
    const bytesPerSecond = bytes / (ms / 1000);
    return { linears, activations, rows, logitRows: sequences.length, ms, leastMs: sorted[0]!, bytesPerSecond };
  });
}

/** Sequences at their first positions, where attention sees next to nothing. */
function sequencesOf(rows: number): StepSequence[] {
  const size = rows <= DECODE_ROWS ? 1 : CHUNK;
  return Array.from({ length: Math.ceil(rows / size) }, (_, i) => ({
    tokenIds: Array.from(
      { length: Math.min(size, rows - i * size) },
      (_, j) => ((i * size + j) * 7919 + 13) % config!.vocabSize,
    ),
    contextLength: 0,
    blockTable: [i],
    attention,
    denseUntil: size,
    logits: "last" as const,
  }));
}

function print(): void {
  for (const { linears, activations, bytes } of variants) {
    const least = (bytes / readBandwidth) * 1000;
    console.log(
      `${linears}, ${activations}: ${(bytes / 1e6).toFixed(1)} MB of weights, read in ${least.toFixed(2)} ms`,
    );
  }
  console.log(`memory read by ${threads} threads: ${(readBandwidth / 1e9).toFixed(1)} GB/s`);
  console.log(
    "| rows | linears | activations | ms per step | least ms | GB/s of weights | time against reading them |",
  );
  console.log("|---|---|---|---|---|---|---|");
  for (const { rows, linears, activations, ms, leastMs, bytesPerSecond } of results) {
    const against = `${(readBandwidth / bytesPerSecond).toFixed(2)}x`;
    const cells = [rows, linears, activations, ms.toFixed(2), leastMs.toFixed(2), (bytesPerSecond / 1e9).toFixed(1)];
    console.log(`| ${[...cells, against].join(" | ")} |`);
  }
}
