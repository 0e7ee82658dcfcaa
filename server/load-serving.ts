import { basename, dirname, extname } from "node:path";
import type { Logger } from "pino";
import { defaultAttention } from "../attention/defaults.ts";
import { BLOCK_SIZE, bytesPerBlock, openSession, type StepSession } from "../attention/session.ts";
import type { AttentionSettings } from "../attention/types.ts";
import { messageOf } from "../models/errors.ts";
import { loadModel } from "../models/load.ts";
import type { ModelConfig, TokenizerFiles } from "../models/types.ts";
import { AttentionOverrideError, overrideAttention } from "./attention-settings.ts";
import { type ModelOptions, OptionError } from "./config.ts";
import { createEngine, type EngineLimits, type StepRunner } from "./engine/engine.ts";
import type { EngineObserver } from "./engine/observer.ts";
import { defaultSchedulerSettings, type SchedulerSettings } from "./engine/scheduler-types.ts";
import { defaultSpeculation } from "./engine/speculation.ts";
import type { Tokenizer } from "./engine/types.ts";
import { GrammarService } from "./grammar/service.ts";
import { grammarVocabulary } from "./grammar/vocabulary.ts";
import { threadedEncoder } from "./prompts/encoder.ts";
import { servedCache } from "./resources.ts";
import type { Serving } from "./serving.ts";
import { Stopwatch } from "./stopwatch.ts";
import { createTokenizer } from "./tokenizer.ts";

/** A model with a session, of whatever kind. */
export interface LoadedModel {
  readonly name: string;
  readonly source: string;
  readonly config: Pick<ModelConfig, "vocabSize" | "maxPositions" | "bosTokenId" | "eosTokenIds" | "sampling">;
  readonly files: TokenizerFiles;
  readonly tokenizer: Tokenizer;
  readonly session: StepSession;
  readonly contextLength: number;
  readonly headDim: number;
  readonly attention: AttentionSettings;
  readonly backend: Serving["backend"];
  readonly broken: NonNullable<Serving["broken"]>;
}

/** Apart from the rest, with what reads and runs ONNX models. */
async function asIsLoader() {
  const { loadAsIs } = await import("./load-as-is.ts");
  return loadAsIs;
}

/**
 * Loads a model and makes an engine for it, watched by `observers`; `runnerOf` may put something
 * between the engine and its session. Throws ModelError for a model that cannot be used, OptionError for attention settings
 * that do not fit it, and Error for a cache that is too small.
 */
export async function loadServing(
  options: ModelOptions,
  log: Logger,
  observers: readonly EngineObserver[] = [],
  runnerOf: (session: StepSession) => StepRunner = (session) => session,
): Promise<Serving> {
  const watch = new Stopwatch();
  const load = options.attention === "onnx" ? await asIsLoader() : loadPrepared;
  const model = await load(options, log, watch);
  const { name, source, config, files, tokenizer, session, contextLength, headDim, attention, backend } = model;
  const sampling = options.samplingDefaults === "model" && config.sampling ? { sampling: config.sampling } : {};
  const engine = createEngine({
    runner: runnerOf(session),
    config,
    tokenizer,
    cache: { blocks: session.blocks, blockSize: BLOCK_SIZE },
    maxPositions: contextLength,
    observers: [...observers, stuckStepLog(log)],
    checked: options.checked,
    limits: limitsOf(options),
    scheduler: schedulerOf(options),
  });
  log.info(
    {
      model: name,
      source,
      contextLength,
      cacheMb: Math.round(session.cacheBytes / 2 ** 20),
      threads: session.threads,
      runtime: session.runtimeVersion,
      attention: backend === "onnx" ? { mode: "onnx" } : attention,
      ...sampling,
      seconds: watch.seconds,
      parts: watch.laps,
      // With Node's own start, and the reading of our modules.
      sinceStart: process.uptime(),
    },
    "model loaded",
  );
  const { bosTokenId, eosTokenIds } = config;
  const ids = { eosTokenIds, ...(bosTokenId === undefined ? {} : { bosTokenId }) };
  return {
    name,
    root: rootOf(source),
    created: Math.floor(Date.now() / 1000),
    tokenizer,
    prompts: threadedEncoder(tokenizer, files, ids),
    engine,
    grammars: new GrammarService({ vocabulary: () => grammarVocabulary(tokenizer, config.vocabSize) }),
    contextLength,
    headDim,
    backend,
    attention,
    broken: model.broken,
    ...sampling,
    ...(options.toolCallParser === undefined ? {} : { toolCallParser: options.toolCallParser }),
  };
}

/** A model whose attention the kernels compute. */
async function loadPrepared(options: ModelOptions, log: Logger, watch: Stopwatch): Promise<LoadedModel> {
  const { quantize, maxContext } = options;
  const model = await loadModel(options.model, { quantize, maxContext, onProgress: progressTo(log) });
  watch.lap("model");
  const { name, source, config } = model;
  const attention = attentionOf(config, options);
  const tokenizer = createTokenizer(model.tokenizer, config);
  watch.lap("tokenizer");
  const perBlock = bytesPerBlock(config, { dtype: options.kvDtype, scanDtype: options.scanDtype });
  const { blocks, contextLength } = servedCache(perBlock, config.maxPositions, options);
  const session = await openSession({
    graphPath: model.graphPath,
    config,
    blocks,
    dtype: options.kvDtype,
    scanDtype: options.scanDtype,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  });
  watch.lap("session");
  return {
    name,
    source,
    config,
    files: model.tokenizer,
    tokenizer,
    session,
    contextLength,
    headDim: config.headDim,
    attention,
    backend: "kernels",
    broken: () => faultOf(() => session.session.checkFiles()),
  };
}

function limitsOf({ maxWaiting, queueTimeout, requestTimeout, stuckStepSeconds }: ModelOptions): EngineLimits {
  const orNone = (seconds: number) => (seconds === 0 ? Number.POSITIVE_INFINITY : seconds);
  return {
    maxWaiting,
    queueSeconds: orNone(queueTimeout),
    requestSeconds: orNone(requestTimeout),
    stuckSeconds: orNone(stuckStepSeconds),
  };
}

/** What a call throws. */
function faultOf(call: () => void): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function stuckStepLog(log: Logger): EngineObserver {
  return {
    stepStuck: ({ description, seconds }) => log.error({ step: description, seconds }, "a step is stuck"),
    stepRecovered: ({ description, seconds }) => log.warn({ step: description, seconds }, "the stuck step has ended"),
  };
}

function schedulerOf(options: ModelOptions): Partial<SchedulerSettings> {
  const { maxRunning, maxNumBatchedTokens, prefillSlowdown, draftTokens } = options;
  // ONNX Runtime may round a token's logits otherwise behind a draft than alone.
  const speculation = options.attention === "onnx" ? "off" : options.speculation;
  const slowdown = prefillSlowdown === 0 ? Number.POSITIVE_INFINITY : prefillSlowdown;
  return {
    maxRunning,
    maxRows: Math.max(maxRunning, maxNumBatchedTokens),
    prefill: { ...defaultSchedulerSettings.prefill, slowdown },
    speculation: speculation === "off" ? null : { ...defaultSpeculation, maxDraft: draftTokens },
  };
}

/** The model's defaults with what the flags say. */
function attentionOf(
  config: ModelConfig,
  { attention, preset, r, k, kShare, local, minContext, topKBuckets }: ModelOptions,
): AttentionSettings {
  try {
    return overrideAttention(
      defaultAttention(config, preset),
      {
        mode: attention === "onnx" ? "dense" : attention,
        r,
        k,
        k_share: kShare,
        local,
        min_context: minContext,
        top_k_buckets: topKBuckets,
      },
      config.headDim,
    );
  } catch (error) {
    if (!(error instanceof AttentionOverrideError)) throw error;
    const given = { r, k, local }[error.field as "r" | "k" | "local"];
    throw new OptionError(error.field, given, `does not fit: ${error.message}`);
  }
}

/** The folder with the tokenizer's files, or the GGUF that holds them. */
function rootOf(source: string): string {
  if (![".onnx", ".safetensors"].includes(extname(source))) return source;
  const folder = dirname(source);
  return basename(folder) === "onnx" ? dirname(folder) : folder;
}

/** A line for each thing that the import begins, and for each quarter of it; a prepared model has none. */
function progressTo(log: Logger) {
  let last = "";
  return (done: number, total: number, what: string) => {
    const quarter = `${what} ${Math.floor((4 * done) / total)}`;
    if (quarter !== last) log.info({ what, done, total }, "preparing the model");
    last = quarter;
  };
}
