import { writeFileSync } from "node:fs";
import { BLOCK_SIZE, openSession, type Session } from "../../attention/session.ts";
import type { AttentionSettings } from "../../attention/types.ts";
import { loadModel } from "../../models/load.ts";
import type { ModelConfig } from "../../models/types.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { createEngine } from "../../server/engine/engine.ts";
import { defaultSchedulerSettings } from "../../server/engine/scheduler-types.ts";
import type { GenerateRequest, Tokenizer } from "../../server/engine/types.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { attentionOf, cacheOf } from "../attention.ts";
import { describeMachine } from "../machine.ts";
import { loadOptionsOf } from "../options.ts";
import { median, quantile } from "../statistics.ts";
import type { PaceOptions } from "./command.ts";

/** Tokens of the stream before the long prompt comes: what it is compared with. */
const ALONE_TOKENS = 1000;
const WARM_UP_TOKENS = 20;
/** Stream's tokens at most; it is stopped when the long prompt has its first. */
const MOST_TOKENS = 8000;

interface Pace {
  readonly medianMs: number;
  readonly p99Ms: number;
}

export interface PaceResult {
  readonly slowdown: number;
  readonly alone: Pace;
  readonly beside: Pace;
  /** Tokens that the stream got meanwhile. */
  readonly tokens: number;
  /** Infinity (null in JSON) if the stream ended before. */
  readonly firstTokenSeconds: number;
}

/** The long prompt alone, then beside a stream under each limit, in one engine each. */
export async function runPace(options: PaceOptions, io: CliIo): Promise<number> {
  const { config, graphPath, tokenizer: files } = await loadModel(options.model, loadOptionsOf(options));
  const tokenizer = createTokenizer(files, config);
  const prompt = Math.min(options.prompt, config.maxPositions - 2);
  const most = Math.min(MOST_TOKENS, config.maxPositions - options.context - 1);
  const blocks = Math.ceil((prompt + 2) / BLOCK_SIZE) + Math.ceil((options.context + most) / BLOCK_SIZE) + 2;
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const session = await openSession({ graphPath, config, blocks, ...cacheOf(options), ...threads });
  const bench = new Bench(session, config, tokenizer, attentionOf(config, options));
  try {
    const aloneSeconds = await bench.firstToken(prompt);
    io.out(`a prompt of ${prompt} tokens alone: ${aloneSeconds.toFixed(1)} s to its first token\n\n`);
    const results: PaceResult[] = [];
    for (const slowdown of options.slowdowns) {
      io.stop.throwIfAborted();
      results.push(await bench.measure(slowdown, prompt, options.context, most));
    }
    io.out(tableOf(results));
    if (options.json) {
      const { model, context } = options;
      const report = { machine: describeMachine(session.threads), model, prompt, context, aloneSeconds, results };
      writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
    }
    return 0;
  } finally {
    session.close();
  }
}

class Bench {
  private readonly session: Session;
  private readonly config: ModelConfig;
  private readonly tokenizer: Tokenizer;
  private readonly attention: AttentionSettings;

  constructor(session: Session, config: ModelConfig, tokenizer: Tokenizer, attention: AttentionSettings) {
    this.session = session;
    this.config = config;
    this.tokenizer = tokenizer;
    this.attention = attention;
  }

  async firstToken(promptTokens: number): Promise<number> {
    const engine = this.engineOf(0);
    const started = performance.now();
    await engine.generate(this.requestOf("long", promptTokens, 1)).next();
    const seconds = (performance.now() - started) / 1000;
    await engine.close();
    return seconds;
  }

  async measure(slowdown: number, promptTokens: number, context: number, most: number): Promise<PaceResult> {
    const engine = this.engineOf(slowdown);
    const times: number[] = [];
    let arrival = Number.POSITIVE_INFINITY;
    let firstToken = Number.POSITIVE_INFINITY;
    for await (const _ of engine.generate(this.requestOf("stream", context, most))) {
      const now = performance.now();
      times.push(now);
      if (now > firstToken) break;
      if (times.length !== WARM_UP_TOKENS + ALONE_TOKENS) continue;
      arrival = now;
      const long = engine.generate(this.requestOf("long", promptTokens, 1)).next();
      long.then(
        () => {
          firstToken = performance.now();
        },
        () => {}, // The stream was at its end first, and the engine is closed.
      );
    }
    await engine.close(); // The step in flight ends before the next engine's first.
    const between = times.slice(1).map((time, i) => ({ time, ms: time - times[i]! }));
    const alone = between.slice(WARM_UP_TOKENS).filter(({ time }) => time <= arrival);
    const beside = between.filter(({ time }) => time > arrival);
    return {
      slowdown,
      alone: paceOf(alone.map(({ ms }) => ms)),
      beside: paceOf(beside.map(({ ms }) => ms)),
      tokens: beside.length,
      firstTokenSeconds: (firstToken - arrival) / 1000,
    };
  }

  private requestOf(id: string, promptTokens: number, maxTokens: number): GenerateRequest {
    const { vocabSize } = this.config;
    const offset = id === "long" ? 13 : 7;
    const promptIds = Array.from({ length: promptTokens }, (_, i) => (i * 7919 + offset) % vocabSize);
    const sampling = { maxTokens, temperature: 0, topP: 1, topK: 0, stop: [], ignoreEos: true };
    return { id, promptIds, sampling, attention: this.attention };
  }

  private engineOf(slowdown: number) {
    const { session, config, tokenizer } = this;
    const prefill = { ...defaultSchedulerSettings.prefill, slowdown: slowdown === 0 ? Infinity : slowdown };
    return createEngine({
      runner: {
        step: session.step.bind(session),
        copyBlock: session.copyBlock.bind(session),
        close: () => {},
        layers: session.layers,
      },
      config,
      tokenizer,
      cache: { blocks: session.blocks, blockSize: session.blockSize, prefixCaching: false },
      scheduler: { prefill },
    });
  }
}

function paceOf(milliseconds: readonly number[]): Pace {
  return { medianMs: median(milliseconds), p99Ms: quantile(milliseconds, 0.99) };
}

function tableOf(results: readonly PaceResult[]): string {
  const lines = results.map(({ slowdown, alone, beside, tokens, firstTokenSeconds }) => {
    const pace = ({ medianMs, p99Ms }: Pace) => `${medianMs.toFixed(1)} | ${p99Ms.toFixed(1)}`;
    const ratio = (beside.p99Ms / alone.p99Ms).toFixed(2);
    const name = slowdown === 0 ? "none" : String(slowdown);
    const first = Number.isFinite(firstTokenSeconds) ? firstTokenSeconds.toFixed(1) : "after the stream's end";
    return `| ${name} | ${pace(alone)} | ${pace(beside)} | ${ratio} | ${tokens} | ${first} |\n`;
  });
  return (
    "| limit | alone, median ms | p99 | beside, median ms | p99 | p99 ratio | tokens | prompt's first token, s |\n" +
    `|---|---|---|---|---|---|---|---|\n${lines.join("")}`
  );
}
