import { statSync, writeFileSync } from "node:fs";
import { extname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { defaultThreads } from "../../attention/threads.ts";
import { loadModel } from "../../models/load.ts";
import { userCacheDir } from "../../models/registry.ts";
import type { PreparedModel } from "../../models/types.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { OptionError } from "../../server/config.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { attentionOf, cacheOf } from "../attention.ts";
import { describeMachine } from "../machine.ts";
import { toFlags } from "../options.ts";
import type { CompareOptions } from "./command.ts";
import { LlamaCppSystem } from "./llama-cpp.ts";
import { type LocatedPeer, locateLlamaCpp } from "./llama-cpp-files.ts";
import { requireMemory } from "./memory.ts";
import * as report from "./report.ts";
import { SparqSystem } from "./sparq.ts";
import type { System } from "./system.ts";
import { tokenIds } from "./tokens.ts";

/** Compared position by position before anything is timed. */
const CHECK_PROMPT =
  "The capital of France is Paris. Water boils at one hundred degrees, and the moon goes round the earth in about a month. " +
  "Once upon a time there was a little girl who lived with her mother at the edge of a great";
/** Two roundings of one model agree on nearly all positions of such a text; two models on a third or less. */
const LEAST_AGREEMENT = 0.8;
/** Idle threads of both sides spin for some milliseconds before they sleep. */
const SETTLE_MS = 200;
const WARM_UP_STEPS = 4;
/** More than this, in cores, and the side that rests disturbs the one that is timed. */
const MOST_IDLE_CORES = 0.05;

/** Measures sparq, and llama.cpp if it is installed; writes tables to stdout, and the report to `options.json`. */
export async function runCompare(options: CompareOptions, io: CliIo, locate = locateLlamaCpp): Promise<number> {
  const model = await loadModel(options.model);
  if (extname(model.source) !== ".gguf") {
    throw new OptionError("model", options.model, `must be a GGUF file's: ${options.peer} reads nothing else`);
  }
  const systems: System[] = [];
  try {
    const result = await compare(options, model, systems, io, locate());
    io.out(report.formatReport(result));
    if (options.json) writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
    return 0;
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  } finally {
    for (const system of systems) system.close();
  }
}

async function compare(
  options: CompareOptions,
  model: PreparedModel,
  systems: System[],
  io: CliIo,
  located: LocatedPeer,
): Promise<report.CompareReport> {
  const threads = options.threads ?? defaultThreads();
  const attention = attentionOf(model.config, options);
  const cache = cacheOf(options);
  const prompt = createTokenizer(model.tokenizer, model.config).encode(CHECK_PROMPT);
  const sparq = await SparqSystem.load({ model, threads, attention, cache }, prompt.length);
  systems.push(sparq);

  const skipped = "missing" in located ? [{ system: options.peer, reason: located.missing }] : [];
  if ("missing" in located) io.err(`${options.peer} is skipped: ${located.missing}\n`);
  else systems.push(await loadPeer(located.libraries, model, threads, options));
  const agreement = await checkAgreement(systems, prompt, io);
  requireRoom(options, model, sparq, systems.length > 1);
  warnOfLength(options, model, io);

  const clock = new Clock(systems, io);
  const results: report.CompareResult[] = [];
  const prefill: report.PrefillResult[] = [];
  for (const context of options.context) {
    const tokens = tokenIds(context, model.config.vocabSize, context);
    await inTurn(systems, (system) => system.open(context + stepsAt(options), Math.max(...options.batch)));
    if (options.prefill > 0) prefill.push(...(await measurePrefill(tokens, options.prefill, clock)));
    else for (const system of systems) await clock.alone(system, () => system.refill(tokens), `filling ${context}`);
    for (const batch of options.batch) results.push(...(await measureDecode(context, batch, options, model, clock)));
  }
  return {
    machine: describeMachine(threads),
    versions: { node: process.versions.node, ...Object.assign({}, ...systems.map(({ versions }) => versions)) },
    command: `sparq bench compare ${toFlags({ ...options, prefill: options.prefill || undefined })}`,
    model: model.name,
    settings: {
      ...{ attention, cache, activations: process.env.SPARQ_ACTIVATIONS ?? "default" },
      ...{ steps: options.steps, warmUpSteps: WARM_UP_STEPS },
      cacheBytesPerToken: { sparq: sparq.bytesPerBlock / sparq.blockSize, [options.peer]: peerBytesPerToken(model) },
    },
    agreement,
    results,
    ratio: report.ratiosOf(results, options.peer),
    prefill,
    prefillRatio: report.prefillRatiosOf(prefill, options.peer),
    idleCores: clock.idleCores,
    skipped,
  };
}

async function loadPeer(libraries: string, model: PreparedModel, threads: number, { keepFill }: CompareOptions) {
  const { source, config } = model;
  const kept = keepFill ? { kept: join(userCacheDir(), "bench") } : {};
  const peer = await LlamaCppSystem.load({ libraries, model: resolve(source), threads, ...kept });
  if (peer.layers === config.layers && peer.vocabSize === config.vocabSize) return peer;
  peer.close();
  const sizes = `${peer.layers} layers and ${peer.vocabSize} tokens, sparq ${config.layers} and ${config.vocabSize}`;
  throw new Error(`llama.cpp sees ${sizes} in ${source}: one of the two does not run this model`);
}

/** Null with one side alone. Throws when the sides differ as two models do, or a logit is not finite. */
async function checkAgreement(systems: readonly System[], prompt: readonly number[], io: CliIo) {
  const tops = await inTurn(systems, (system) => system.check(prompt));
  const [own, peer] = tops;
  if (own === undefined || peer === undefined) return null;
  const same = own.filter((token, i) => token === peer[i]).length;
  io.err(`the likeliest token is the same at ${same} of ${prompt.length} positions of a prompt\n`);
  if (same < LEAST_AGREEMENT * prompt.length) {
    throw new Error(`the sides do not run the same model: they agree at ${same} of ${prompt.length} positions only`);
  }
  return { same, positions: prompt.length };
}

function requireRoom(options: CompareOptions, model: PreparedModel, sparq: SparqSystem, withPeer: boolean): void {
  const { blockSize, bytesPerBlock } = sparq;
  requireMemory(
    {
      ...{ context: Math.max(...options.context), batch: Math.max(...options.batch), steps: stepsAt(options) },
      ...{ blockSize, bytesPerBlock, weightBytes: statSync(model.source).size },
      peerBytesPerToken: withPeer ? peerBytesPerToken(model) : 0,
    },
    process.availableMemory(),
  );
}

/** Keys and values in f16. */
function peerBytesPerToken({ config }: PreparedModel): number {
  return config.layers * config.kvHeads * config.headDim * 2 * 2;
}

function warnOfLength({ context, steps }: CompareOptions, { name, config }: PreparedModel, io: CliIo): void {
  const beyond = context.filter((positions) => positions + steps > config.maxPositions);
  if (beyond.length === 0) return;
  const made = `the ${config.maxPositions} positions that ${name} was made for`;
  io.err(`context ${beyond.join(", ")} and ${steps} steps go beyond ${made}: good for times only\n`);
}

/** Positions that are kept free behind the context. */
function stepsAt({ steps }: CompareOptions): number {
  return Math.max(steps, WARM_UP_STEPS);
}

/** Fills the caches `times` times; what is decoded next stands on the last. */
async function measurePrefill(tokens: readonly number[], times: number, clock: Clock): Promise<report.PrefillResult[]> {
  const { systems } = clock;
  const rounds = systems.map((): number[] => []);
  // The first steps after loading touch the weights' memory for the first time.
  await inTurn(systems, (system) => system.fill(tokens.slice(0, 512)));
  for (let round = 0; round < times; round++) {
    for (const [i, system] of systems.entries()) {
      rounds[i]!.push(await clock.alone(system, () => system.fill(tokens), `prefill of ${tokens.length}`));
    }
  }
  return systems.map(({ name }, i) => report.prefillResult(name, tokens.length, rounds[i]!));
}

async function measureDecode(
  context: number,
  batch: number,
  options: CompareOptions,
  model: PreparedModel,
  clock: Clock,
) {
  const runs = clock.systems.flatMap((system) =>
    system.variants.map((variant) => ({ system, variant, rounds: [] as (readonly number[])[] })),
  );
  const tokensOf = (steps: number, seed: number) => tokenIds(batch * steps, model.config.vocabSize, seed);
  const what = `context ${context}, batch ${batch}`;
  for (const { system, variant } of runs) {
    const round = { variant, context, batch, tokens: tokensOf(WARM_UP_STEPS, 0) };
    await clock.alone(system, () => system.decode(round), what);
  }
  for (let i = 0; i < options.rounds; i++) {
    const tokens = tokensOf(options.steps, i + 1);
    for (const { system, variant, rounds } of runs) {
      rounds.push(await clock.alone(system, () => system.decode({ variant, context, batch, tokens }), what));
    }
  }
  return runs.map(({ system, variant, rounds }) =>
    report.compareResult({ system: system.name, variant, context, batch }, rounds),
  );
}

/** Lets one side compute while the others rest, and watches that they do. */
class Clock {
  readonly systems: readonly System[];
  idleCores = 0;
  private readonly io: CliIo;
  private current: System | undefined;
  private said = "";

  constructor(systems: readonly System[], io: CliIo) {
    this.systems = systems;
    this.io = io;
  }

  async alone<T>(system: System, work: () => Promise<T>, what: string): Promise<T> {
    this.io.stop.throwIfAborted();
    if (what !== this.said) this.io.err(`${what}\n`);
    this.said = what;
    if (this.current !== system) await sleep(SETTLE_MS);
    this.current = system;
    const resting = this.systems.filter((other) => other !== system);
    const before = await inTurn(resting, (other) => other.cpuSeconds());
    const started = performance.now();
    const result = await work();
    const seconds = (performance.now() - started) / 1000;
    const after = await inTurn(resting, (other) => other.cpuSeconds());
    const used = after.reduce((sum, value, i) => sum + value - before[i]!, 0) / seconds;
    if (used > Math.max(MOST_IDLE_CORES, this.idleCores)) {
      this.io.err(`warning: while ${system.name} was timed, the other side computed on ${used.toFixed(2)} cores\n`);
    }
    this.idleCores = Math.max(this.idleCores, used);
    return result;
  }
}

async function inTurn<T>(systems: readonly System[], work: (system: System) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (const system of systems) results.push(await work(system));
  return results;
}
