import { writeFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { BLOCK_SIZE, openSession, type Session } from "../../attention/session.ts";
import type { AttentionSettings } from "../../attention/types.ts";
import { loadModel } from "../../models/load.ts";
import type { ModelConfig } from "../../models/types.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { createEngine } from "../../server/engine/engine.ts";
import { defaultSpeculation, type SpeculationSettings } from "../../server/engine/speculation.ts";
import type { Engine, EngineStats, GenerateRequest, Tokenizer } from "../../server/engine/types.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { attentionOf, cacheOf } from "../attention.ts";
import { describeMachine } from "../machine.ts";
import { loadOptionsOf } from "../options.ts";
import { median, quantile } from "../statistics.ts";
import type { SpeculationOptions } from "./command.ts";
import { requestOf, type Task, tasks } from "./tasks.ts";

export interface SpeculationResult {
  readonly task: string;
  readonly repeats: boolean;
  readonly batch: number;
  /** Tokens after the first ones, of all sequences. */
  readonly tokens: number;
  /** Medians over the rounds, tokens a second of all sequences together. */
  readonly plain: number;
  readonly drafted: number;
  /** Of each round's ratio: the median, and the quartiles. */
  readonly ratio: readonly [number, number, number];
  readonly draftTokens: number;
  readonly acceptedDraftTokens: number;
  readonly steps: number;
  readonly plainSteps: number;
}

/** Longer than any task's. */
const PROMPT_TOKENS = 1024;

/** Measures each task with each batch. Fails if a draft has changed a token. */
export async function runSpeculation(options: SpeculationOptions, io: CliIo): Promise<number> {
  const { config, graphPath, tokenizer: files } = await loadModel(options.model, loadOptionsOf(options));
  const tokenizer = createTokenizer(files, config);
  const cache = cacheOf(options);
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const blocks = Math.max(...options.batch) * Math.ceil((PROMPT_TOKENS + options.maxTokens) / BLOCK_SIZE);
  const session = await openSession({ graphPath, config, blocks, ...cache, ...threads });
  const bench = new Bench(session, config, attentionOf(config, options), tokenizer, files.chatTemplate !== undefined);
  const results: SpeculationResult[] = [];
  try {
    for (const batch of options.batch) {
      for (const task of tasks) {
        io.stop.throwIfAborted();
        results.push(await bench.measure(task, batch, options));
      }
    }
  } finally {
    session.close();
  }
  io.out(tableOf(results));
  if (options.json) {
    const { model, maxTokens, draftTokens, rounds } = options;
    const report = { machine: describeMachine(session.threads), model, cache, maxTokens, draftTokens, rounds, results };
    writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
  }
  return 0;
}

interface Run {
  readonly ids: readonly (readonly number[])[];
  readonly tokens: number;
  readonly seconds: number;
  readonly stats: EngineStats;
}

class Bench {
  private readonly session: Session;
  private readonly config: ModelConfig;
  private readonly attention: AttentionSettings;
  private readonly tokenizer: Tokenizer;
  private readonly chat: boolean;

  constructor(
    session: Session,
    config: ModelConfig,
    attention: AttentionSettings,
    tokenizer: Tokenizer,
    chat: boolean,
  ) {
    this.session = session;
    this.config = config;
    this.attention = attention;
    this.tokenizer = tokenizer;
    this.chat = chat;
  }

  async measure(
    task: Task,
    batch: number,
    { maxTokens, draftTokens, rounds }: SpeculationOptions,
  ): Promise<SpeculationResult> {
    const requests = Array.from({ length: batch }, (_, i) => {
      return { ...requestOf(task, i, this.tokenizer, this.chat, maxTokens), attention: this.attention };
    });
    const speculation = { ...defaultSpeculation, maxDraft: draftTokens };
    const pairs: { readonly plain: Run; readonly drafted: Run }[] = [];
    for (let round = 0; round < rounds; round++) {
      const plain = await this.run(requests, null);
      const drafted = await this.run(requests, speculation);
      if (!isDeepStrictEqual(plain.ids, drafted.ids)) throw new Error(`${task.name}: drafts have changed the tokens`);
      pairs.push({ plain, drafted });
    }
    const speed = ({ tokens, seconds }: Run) => tokens / seconds;
    const ratios = pairs.map(({ plain, drafted }) => speed(drafted) / speed(plain));
    const { plain, drafted } = pairs[0]!;
    return {
      task: task.name,
      repeats: task.repeats,
      batch,
      tokens: plain.tokens,
      plain: median(pairs.map((pair) => speed(pair.plain))),
      drafted: median(pairs.map((pair) => speed(pair.drafted))),
      ratio: [quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75)],
      draftTokens: drafted.stats.draftTokens,
      acceptedDraftTokens: drafted.stats.acceptedDraftTokens,
      steps: drafted.stats.steps,
      plainSteps: plain.stats.steps,
    };
  }

  /** All requests at once, timed from when each has its first token. */
  private async run(requests: readonly GenerateRequest[], speculation: SpeculationSettings | null): Promise<Run> {
    const { session, config, tokenizer } = this;
    // An engine of its own: nothing of another run is cached.
    const engine = createEngine({
      runner: {
        step: session.step.bind(session),
        copyBlock: session.copyBlock.bind(session),
        close: () => {},
        layers: session.layers,
      },
      config,
      tokenizer,
      cache: { blocks: session.blocks, blockSize: session.blockSize, prefixCaching: false },
      scheduler: { speculation, maxRunning: Math.max(32, requests.length) },
    });
    const answers = await Promise.all(requests.map((request) => collect(engine, request)));
    const stats = engine.stats();
    await engine.close();
    const start = Math.max(...answers.map(([first]) => first!.at));
    const later = answers.flat().filter(({ at }) => at > start);
    const end = Math.max(...later.map(({ at }) => at));
    const ids = answers.map((tokens) => tokens.map(({ id }) => id));
    return { ids, tokens: later.length, seconds: end - start, stats };
  }
}

/** A request's tokens, with the seconds at which they came. */
async function collect(engine: Engine, request: GenerateRequest): Promise<{ id: number; at: number }[]> {
  const tokens: { id: number; at: number }[] = [];
  for await (const { tokenId } of engine.generate(request)) {
    tokens.push({ id: tokenId, at: performance.now() / 1000 });
  }
  return tokens;
}

function tableOf(results: readonly SpeculationResult[]): string {
  const lines = [
    "| task | quotes | batch | tokens | tokens/s without | with drafts | ratio (quartiles) | right of drafted | steps |",
    "|---|---|---|---|---|---|---|---|---|",
  ];
  for (const result of results) {
    const { task, repeats, batch, tokens, plain, drafted, draftTokens, acceptedDraftTokens, steps, plainSteps } =
      result;
    const [middle, low, high] = result.ratio.map((ratio) => ratio.toFixed(2));
    const cells = [task, repeats ? "yes" : "no", batch, tokens, plain.toFixed(0), drafted.toFixed(0)];
    const counts = [`${acceptedDraftTokens} of ${draftTokens}`, `${steps} instead of ${plainSteps}`];
    lines.push(`| ${[...cells, `${middle} (${low}-${high})`, ...counts].join(" | ")} |`);
  }
  return `${lines.join("\n")}\n`;
}
