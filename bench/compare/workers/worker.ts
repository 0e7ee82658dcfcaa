import { createInterface } from "node:readline";

/** What a worker does for `WorkerSystem`; each method's result goes back as it is. */
export interface Worker {
  readonly versions: Readonly<Record<string, string>>;
  readonly vocabSize: number;
  readonly layers: number;
  check(request: { readonly prompt: readonly number[] }): Promise<{ readonly top: number[]; readonly finite: boolean }>;
  open(request: { readonly positions: number; readonly sequences: number }): Promise<object>;
  fill(request: { readonly tokens: readonly number[] }): Promise<{ readonly seconds: number }>;
  refill(request: { readonly tokens: readonly number[] }): Promise<object>;
  decode(request: WorkerRound): Promise<{ readonly milliseconds: number[]; readonly finite: boolean }>;
}

export interface WorkerRound {
  readonly context: number;
  readonly batch: number;
  readonly steps: number;
  readonly tokens: readonly number[];
}

const calls = ["check", "open", "fill", "refill", "decode"] as const;

/** Answers requests from stdin until it ends. A failure is {"error": ...}, and the program ends. */
export async function serve(load: () => Promise<Worker>): Promise<void> {
  const say = (answer: object) => process.stdout.write(`${JSON.stringify(answer)}\n`);
  try {
    const worker = await load();
    const { versions, vocabSize, layers } = worker;
    say({ versions, vocabSize, layers });
    for await (const line of createInterface(process.stdin)) {
      const { do: what, ...request } = JSON.parse(line);
      if (what === "cpu") say({ seconds: cpuSeconds() });
      else if (calls.includes(what)) say(await worker[what as (typeof calls)[number]](request));
      else throw new Error(`unknown request ${what}`);
    }
  } catch (error) {
    say({ error: error instanceof Error ? error.message : String(error) });
    process.exitCode = 1;
  }
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** The likeliest token after each row of [rows, vocabSize], and whether all logits are numbers. */
export function likeliest(
  logits: Float32Array,
  vocabSize: number,
): { readonly top: number[]; readonly finite: boolean } {
  const top: number[] = [];
  for (let start = 0; start < logits.length; start += vocabSize) {
    let best = 0;
    for (let i = 0; i < vocabSize; i++) {
      const value = logits[start + i]!;
      if (!Number.isFinite(value)) return { top: [], finite: false };
      if (value > logits[start + best]!) best = i;
    }
    top.push(best);
  }
  return { top, finite: true };
}
