import { Random } from "../soak/random.ts";
import { arrivals } from "./arrivals.ts";
import { bodyOf } from "./body.ts";
import type { ServeOptions } from "./command.ts";
import { FilePrompts } from "./data-file.ts";
import { LoadProcess } from "./load-process.ts";
import { type Load, type LoadRounds, loadsOf, nameOf } from "./loads.ts";
import { type RoundFigures, roundFigures } from "./metrics.ts";
import { type PromptSource, WordPrompts } from "./prompts.ts";
import type { Target } from "./target.ts";

type OnProgress = (done: number, total: number, what: string) => void;

/** Rounds of all loads in turn, after the warm-up. Throws Error if nothing of the warm-up is answered. */
export async function measure(
  options: ServeOptions,
  target: Target,
  stop: AbortSignal,
  onProgress: OnProgress,
): Promise<LoadRounds[]> {
  const loads = loadsOf(options.rate, options.concurrency).map((load) => ({ load, rounds: [] as RoundFigures[] }));
  const total = options.warmup + options.rounds * loads.length * options.requests;
  const runner = new RoundRunner(options, target, stop, total, onProgress);
  try {
    if (options.warmup > 0) {
      const load = { rate: Number.POSITIVE_INFINITY, concurrency: loads[0]!.load.concurrency };
      const { failures } = await runner.run(load, options.warmup, "warm-up");
      const [first] = failures;
      if (failures.length === options.warmup) {
        throw new Error(`no request of the warm-up was answered as it must be: ${first!.kind}: ${first!.detail}`);
      }
    }
    for (let round = 1; round <= options.rounds; round++) {
      for (const { load, rounds } of loads) {
        const what = `round ${round} of ${options.rounds}, ${nameOf(load)}`;
        rounds.push(await runner.run(load, options.requests, what));
      }
    }
  } finally {
    runner.close();
  }
  return loads;
}

class RoundRunner {
  private readonly options: ServeOptions;
  private readonly target: Target;
  private readonly stop: AbortSignal;
  private readonly onProgress: (done: number, what: string) => void;
  private readonly random: Random;
  private readonly prompts: PromptSource;
  private readonly clients = new LoadProcess();
  private done = 0;

  constructor(options: ServeOptions, target: Target, stop: AbortSignal, total: number, onProgress: OnProgress) {
    this.options = options;
    this.target = target;
    this.stop = stop;
    this.onProgress = (done, what) => onProgress(done, total, what);
    this.random = new Random(options.seed);
    const { data, outputTokens } = options;
    this.prompts =
      data === undefined
        ? new WordPrompts(options, target.scale, this.random)
        : new FilePrompts(data, outputTokens, this.random);
  }

  /** `n` requests with prompts of their own, until all have ended. */
  async run({ rate, concurrency }: Load, n: number, what: string): Promise<RoundFigures> {
    const { options, target, done } = this;
    this.onProgress(done, what);
    const prompts = this.prompts.take(n);
    const due = arrivals(n, rate, options.burstiness, this.random);
    const requests = prompts.map((prompt, i) => ({ body: bodyOf(prompt, target.body), due: due[i]! }));
    const { url, headers, usage } = target;
    const order = { url, headers, requests, concurrency, timeoutMs: 1000 * options.timeout };
    const result = await this.clients.run(order, this.stop, (ended) => this.onProgress(done + ended, what));
    this.done += n;
    const { ignoreEos } = target.body.features;
    const expected = prompts.map(({ outputTokens }) => ({ outputTokens, ignoreEos, usage }));
    return roundFigures(result, expected, rate, options.goodput);
  }

  close(): void {
    this.clients.close();
  }
}
