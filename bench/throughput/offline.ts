import { createHash } from "node:crypto";
import type { Session } from "../../attention/session.ts";
import type { ModelConfig } from "../../models/types.ts";
import { createEngine, type StepRunner } from "../../server/engine/engine.ts";
import type { ObservedStep } from "../../server/engine/observer.ts";
import { defaultSchedulerSettings } from "../../server/engine/scheduler-types.ts";
import type { Engine, GenerateRequest, GenerationSummary, Tokenizer } from "../../server/engine/types.ts";
import { settingsOf, type Variant } from "../eval/variants.ts";
import type { Workload, WorkloadRequest } from "./workload.ts";

export interface OfflineOptions {
  readonly session: Session;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** Sequences at the same time. */
  readonly batch: number;
  /** Infinity: no limit. */
  readonly prefillSlowdown: number;
  readonly signal: AbortSignal;
  /** A request is done. */
  readonly onRequest: () => void;
  /** What stands between the engine and its session; default: nothing. */
  readonly runnerOf?: (runner: StepRunner) => StepRunner;
}

/** A workload, run once. */
export interface OfflineRun {
  /** From the first request's arrival to the last one's end. */
  readonly seconds: number;
  /** Processor time of this process meanwhile, all threads together, and how many threads compute. */
  readonly cpuSeconds: number;
  readonly threads: number;
  readonly steps: readonly Pick<ObservedStep, "seconds" | "attentionSeconds">[];
  readonly promptTokens: number;
  /** Of these, served from the prefix cache. */
  readonly cachedPromptTokens: number;
  readonly outputTokens: number;
  readonly preemptions: number;
  /** Blocks that running requests held at the most, each once however many share it, and blocks in all. */
  readonly peakBlocks: number;
  readonly blocks: number;
  /** Of all output tokens: same tokens, same digest. */
  readonly digest: string;
}

/** An answer that is not what was asked for: what was measured counts for nothing. */
export class OfflineError extends Error {
  override readonly name = "OfflineError";
}

/**
 * Hands in all requests at once and waits for all answers, through an engine as a server has it, with a cache in which nothing
 * is yet. Temperature 1 and no end before the last token, as vLLM's benchmark; no drafts, whose worth depends on what the text
 * says. Throws OfflineError for an answer that ends early or late.
 */
export async function runOffline(workload: Workload, variant: Variant, options: OfflineOptions): Promise<OfflineRun> {
  const { session, config, tokenizer, batch, prefillSlowdown, signal, onRequest } = options;
  const { runnerOf = (runner: StepRunner) => runner } = options;
  const steps: ObservedStep[] = [];
  let peakBlocks = 0;
  const runner = runnerOf(borrowed(session));
  const engine: Engine = createEngine({
    runner: {
      ...(runner.layers === undefined ? {} : { layers: runner.layers }),
      step(sequences) {
        // The plan has taken the step's blocks.
        peakBlocks = Math.max(peakBlocks, engine.stats().blocks.owned);
        return runner.step(sequences);
      },
      copyBlock: (from, to) => runner.copyBlock(from, to),
      close: () => runner.close(),
    },
    config,
    tokenizer,
    // Masses are a sequence's own.
    cache: { blocks: session.blocks, blockSize: session.blockSize, prefixCaching: !variant.layout.trackMass },
    scheduler: {
      maxRunning: batch,
      maxRows: Math.max(defaultSchedulerSettings.maxRows, batch),
      prefill: { ...defaultSchedulerSettings.prefill, slowdown: prefillSlowdown },
      speculation: null,
    },
    observers: [{ step: (step) => steps.push(step) }],
  });
  const requests = workload.requests.map((request, i) => requestOf(request, `request ${i + 1}`, variant, config));
  try {
    const cpuBefore = process.cpuUsage();
    const started = performance.now();
    const answers = await Promise.all(
      requests.map(async (request) => {
        const answer = await answerOf(engine, request, signal);
        onRequest();
        return answer;
      }),
    );
    const seconds = (performance.now() - started) / 1000;
    const cpu = process.cpuUsage(cpuBefore);
    const sum = (of: (answer: Answer) => number) => answers.reduce((total, answer) => total + of(answer), 0);
    return {
      seconds,
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      threads: session.threads,
      steps,
      promptTokens: sum(({ summary }) => summary.promptTokens),
      cachedPromptTokens: sum(({ summary }) => summary.cachedPromptTokens),
      outputTokens: sum(({ tokenIds }) => tokenIds.length),
      preemptions: engine.stats().preemptions,
      peakBlocks,
      blocks: session.blocks,
      digest: digestOf(answers),
    };
  } finally {
    await engine.close();
  }
}

interface Answer {
  readonly tokenIds: readonly number[];
  readonly summary: GenerationSummary;
}

/** The session outlives the engine. */
function borrowed(session: Session): StepRunner {
  return {
    step: (sequences) => session.step(sequences),
    copyBlock: (from, to) => session.copyBlock(from, to),
    close: () => {},
    ...(session.layers === undefined ? {} : { layers: session.layers }),
  };
}

function requestOf(
  { promptIds, outputTokens, seed }: WorkloadRequest,
  id: string,
  variant: Variant,
  config: ModelConfig,
): GenerateRequest {
  return {
    id,
    promptIds,
    sampling: { maxTokens: outputTokens, temperature: 1, topP: 1, topK: 0, seed, stop: [], ignoreEos: true },
    attention: settingsOf(variant, promptIds.length, config),
  };
}

async function answerOf(engine: Engine, request: GenerateRequest, signal: AbortSignal): Promise<Answer> {
  const { id, promptIds, sampling } = request;
  const tokenIds: number[] = [];
  const events = engine.generate(request, signal);
  let reason: string | null = null;
  for (;;) {
    const { done, value } = await events.next();
    if (done) {
      const complete = reason === "length" && tokenIds.length === sampling.maxTokens;
      if (!complete || value.promptTokens !== promptIds.length) {
        throw new OfflineError(
          `${id} has ${tokenIds.length} of ${sampling.maxTokens} output tokens and ended by ${reason}; ` +
            `${value.promptTokens} of ${promptIds.length} prompt tokens were taken`,
        );
      }
      return { tokenIds, summary: value };
    }
    if (value.finishReason !== null) reason = value.finishReason;
    tokenIds.push(value.tokenId);
  }
}

function digestOf(answers: readonly Answer[]): string {
  const hash = createHash("sha256");
  for (const { tokenIds } of answers) hash.update(Int32Array.from([tokenIds.length, ...tokenIds]));
  return hash.digest("hex");
}
