import type { EvalReport } from "../eval/types.ts";
import type { BenchRecord } from "../record/record.ts";
import { SPEEDUP } from "../sweep/crossover.ts";
import { names as sweep } from "../sweep/measurements.ts";
import { compareTable } from "./compare.ts";
import { evaluationTable, lossTable, variantTable } from "./evaluation.ts";
import { kernelTable } from "./kernel.ts";
import { healthTable, overheadTable, paceTable, recallTable, speculationTable } from "./older.ts";
import { pivotTable } from "./pivot.ts";

/** Parses a file of bench/results/ by its name. */
// biome-ignore lint/suspicious/noExplicitAny: each table knows the format of its file, and a test makes them all
export type Load = (name: string) => any;

/** SmolLM2's runs of tasks. */
const EVALUATIONS = ["answers", "needle", "repetition", "4k", "4k-texts", "8k", "more", "squad"];

export function evaluations(load: Load): EvalReport[] {
  return EVALUATIONS.map((name) => load(`eval/${name}`));
}

export function agreements(load: Load): EvalReport[] {
  return ["agreement", "agreement-8k"].map((name) => load(`eval/${name}`));
}

const tokens = [null, 1024, 2048, 4096, 7600];
const variants = ["dense", "default", "sparq:1/8", "window:1/8", "h2o:1/8"];
const answers = [
  { task: "squad-answers", metric: "nats per token", title: "SQuAD: nats of a right answer's token" },
  { task: "squad", metric: "match", title: "SQuAD: answered", percent: true },
  { task: "repetition", metric: "characters", title: "Repetition: characters of 256" },
  { task: "needle", metric: "found", title: "needle: found", percent: true },
  { task: "wikitext", metric: "bits per character", title: "WikiText-2: bits per character" },
  { task: "triviaqa", metric: "match", title: "TriviaQA: answered", percent: true },
  { task: "summarisation", metric: "rougeL", title: "summaries: ROUGE-L" },
];
const agreement = { task: "agreement", metrics: ["KL", "largest KL", "same top-1"] };

/** Steps of dense attention and of these variants, and how many times faster than dense each is. */
const sweepColumns = (steps: readonly string[]) => [
  ...["dense", ...steps].map((variant) => ({ title: variant, name: sweep.step, labels: { variant } })),
  ...["default", "sparq:1/2", "sparq:1/4", "sparq:1/8"].map((variant) => {
    return { title: `dense / ${variant}`, name: SPEEDUP, labels: { variant } };
  }),
];

/** The tables that documents can have, by the names in their marks. */
export const tables: Readonly<Record<string, (load: Load) => string>> = {
  compare: (load) => compareTable(load("compare")),
  "sweep-short": (load) => {
    const { measurements, ...record } = load("sweep") as BenchRecord;
    const contexts = new Set([1024, 2048, 4096, 16_384, 65_536]);
    const short = measurements.filter(({ labels }) => contexts.has(Number(labels.context)));
    return pivotTable({ ...record, measurements: short }, ["batch", "context"], sweepColumns(["default"]));
  },
  sweep: (load) => pivotTable(load("sweep"), ["batch", "context"], sweepColumns([])),
  throughput: (load) =>
    pivotTable(
      load("throughput"),
      ["batch", "variant"],
      [
        { title: "output tokens", name: "output tokens" },
        { title: "against dense", name: "speed against the first variant" },
        { title: "step", name: "step" },
        { title: "KV read against dense", name: "KV read against dense" },
        { title: "prefix cache hits", name: "prefix cache hits" },
      ],
    ),
  serve: (load) =>
    pivotTable(
      load("serve"),
      ["concurrency"],
      [
        { title: "output tokens", name: "output throughput" },
        ...["TTFT", "TPOT", "ITL", "E2EL"].flatMap((name) =>
          ["median", "p99"].map((statistic) => ({ title: `${name}, ${statistic}`, name, labels: { statistic } })),
        ),
      ],
    ),
  recall: (load) => recallTable({ "tiny-llama": load("recall-tiny-llama"), "tiny-pythia": load("recall-tiny-pythia") }),
  pace: (load) => paceTable(load("pace-smollm2")),
  speculation: (load) => speculationTable(load("speculation")),
  overhead: (load) => overheadTable(load("overhead")),
  health: (load) => healthTable(load("health")),
  kernel: (load) => kernelTable(load("kernel")),
  evaluation: (load) => evaluationTable(evaluations(load), { metrics: answers, tokens, variants }),
  "default-loss": (load) => lossTable(evaluations(load), { metrics: answers, tokens, variant: "default" }),
  agreement: (load) =>
    evaluationTable(agreements(load), {
      metrics: [
        { task: "agreement", metric: "KL", title: "KL divergence" },
        { task: "agreement", metric: "same top-1", title: "same likeliest token", percent: true },
      ],
      ...{ tokens, variants },
    }),
  "sweep-2k": (load) => variantTable(load("eval/sweep-2k"), { ...agreement, tokens: 2048 }),
  "sweep-8k": (load) => variantTable(load("eval/sweep-8k"), { ...agreement, tokens: 7600 }),
};
