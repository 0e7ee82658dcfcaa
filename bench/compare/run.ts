import { statSync } from "node:fs";
import { join } from "node:path";
import { defaultThreads } from "../../attention/threads.ts";
import { loadModel } from "../../models/load.ts";
import { userCacheDir } from "../../models/registry.ts";
import type { PreparedModel } from "../../models/types.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { attentionOf, cacheOf } from "../attention.ts";
import { toFlags } from "../options.ts";
import { finish } from "../record/finish.ts";
import { type BenchRecord, recordOf } from "../record/record.ts";
import { CHECK_PROMPT, checkAgreement } from "./agreement.ts";
import { Clock, inTurn } from "./clock.ts";
import type { CompareOptions, PeerName } from "./command.ts";
import { type DecodeResult, measureDecode, WARM_UP_STEPS } from "./decode.ts";
import { decodeMeasurements, prefillMeasurements } from "./measurements.ts";
import { type MemoryPlan, planMemory, type Skipped } from "./memory.ts";
import { type Peer, PeerMissing } from "./peer.ts";
import { peers } from "./peers.ts";
import type { PrefillSeries } from "./series.ts";
import { SparqSystem } from "./sparq.ts";
import type { System } from "./system.ts";
import { formatTables } from "./table.ts";
import { tokenIds } from "./tokens.ts";

type Known = Readonly<Record<PeerName, Peer>>;

/** Measures sparq, and the peers that are there; writes tables to stdout, and what else the options ask for. */
export async function runCompare(options: CompareOptions, io: CliIo, known: Known = peers): Promise<number> {
  const model = await loadModel(options.model);
  const systems: System[] = [];
  try {
    const record = await compare(options, model, systems, io, known);
    io.out(formatTables(record.measurements));
    return await finish(record, options, io);
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  } finally {
    for (const system of systems) system.close();
  }
}

/** What it starts is in `systems`, for the caller to close. */
async function compare(
  options: CompareOptions,
  model: PreparedModel,
  systems: System[],
  io: CliIo,
  known: Known,
): Promise<BenchRecord> {
  const started = performance.now();
  const threads = options.threads ?? defaultThreads();
  const { config } = model;
  const attention = attentionOf(config, options);
  const cache = cacheOf(options);
  const prompt = createTokenizer(model.tokenizer, config).encode(CHECK_PROMPT);
  const sparq = await SparqSystem.load({ model, threads, attention, cache }, prompt.length);
  systems.push(sparq);
  const skipped: Skipped[] = [];
  const skip = (one: Skipped) => {
    skipped.push(one);
    io.err(`${one.what} is skipped: ${one.reason}\n`);
  };
  await startPeers({ ...options, threads }, model, systems, skip, io, known);
  const agreement = await checkAgreement(sparq, systems.slice(1), prompt);
  for (const [name, { same, positions }] of Object.entries(agreement)) {
    io.err(`${name} and sparq find the same token the likeliest at ${same} of ${positions} positions of a prompt\n`);
  }
  const plan = planMemory(
    {
      ...{ config, contexts: options.context, batches: options.batch, steps: stepsAt(options) },
      ...{ blockSize: sparq.blockSize, bytesPerBlock: sparq.bytesPerBlock, weightBytes: statSync(model.source).size },
      peers: systems.slice(1).map(({ name }) => known[name as PeerName]),
    },
    process.availableMemory(),
  );
  for (const one of plan.skipped) skip(one);
  // What does not fit at all gives back what its weights take.
  for (const system of systems.filter(({ name }) => plan.refused.has(name))) {
    systems.splice(systems.indexOf(system), 1);
    system.close();
  }
  warnOfLength(options, model, io);

  const clock = new Clock(systems, timesOf(options, systems), io);
  const prefill: PrefillSeries[] = [];
  const decoded: DecodeResult[] = [];
  try {
    for (const context of options.context) {
      const tokens = tokenIds(context, config.vocabSize, context);
      const open = await openAll(systems, context, options, plan, skip);
      if (options.prefill > 0) prefill.push(...(await measurePrefill(open, tokens, options.prefill, clock)));
      else for (const system of open) await clock.alone(system, () => system.refill(tokens), `filling ${context}`);
      for (const batch of options.batch) {
        const running = open.filter(({ name }) => plan.runs(name, context, batch));
        const cell = { ...options, context, batch, vocabSize: config.vocabSize };
        decoded.push(await measureDecode(running, cell, clock));
        for (const one of decoded.at(-1)!.skipped) skip(one);
      }
    }
  } finally {
    clock.end();
  }
  return recordOf({
    bench: "compare",
    command: `sparq bench compare ${toFlags({ ...options, prefill: options.prefill || undefined })}`,
    ...{ threads, started, model: model.name, skipped },
    versions: Object.assign({}, ...systems.map(({ versions }) => versions)),
    settings: {
      ...{ attention, cache, activations: process.env.SPARQ_ACTIVATIONS ?? "default" },
      ...{ steps: options.steps, warmUpSteps: WARM_UP_STEPS, shortened: decoded.flatMap(({ shortened }) => shortened) },
      ...{ agreement, idleCores: clock.idleCores },
    },
    measurements: [...decodeMeasurements(decoded.flatMap(({ series }) => series)), ...prefillMeasurements(prefill)],
  });
}

async function startPeers(
  options: CompareOptions & { readonly threads: number },
  model: PreparedModel,
  systems: System[],
  skip: (one: Skipped) => void,
  io: CliIo,
  known: Known,
): Promise<void> {
  const { threads, python, keepFill } = options;
  const kept = keepFill ? { kept: join(userCacheDir(), "bench") } : {};
  const exported = options.export === undefined ? {} : { exported: options.export };
  for (const name of options.peers) {
    io.stop.throwIfAborted();
    try {
      systems.push(await known[name].start({ model, threads, python, ...exported, ...kept }));
    } catch (error) {
      if (!(error instanceof PeerMissing)) throw error;
      skip({ what: name, reason: error.message });
    }
  }
}

/** Makes caches, for the largest batch that each system will run; resolves to those that have one. */
async function openAll(
  systems: readonly System[],
  context: number,
  options: CompareOptions,
  plan: MemoryPlan,
  skip: (one: Skipped) => void,
): Promise<System[]> {
  const opened = await inTurn(systems, async (system) => {
    const batches = options.batch.filter((batch) => plan.runs(system.name, context, batch));
    if (batches.length === 0) return [];
    try {
      await system.open(context + stepsAt(options), Math.max(...batches));
      return [system];
    } catch (error) {
      if (!(error instanceof PeerMissing)) throw error;
      skip({ what: `${system.name} at context ${context}`, reason: error.message });
      return [];
    }
  });
  return opened.flat();
}

/** How often a system is let compute. */
function timesOf({ context, batch, rounds, prefill }: CompareOptions, systems: readonly System[]): number {
  const ways = systems.reduce((sum, { variants }) => sum + variants.length, 0);
  return context.length * (systems.length * Math.max(prefill, 1) + batch.length * ways * (1 + rounds));
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
async function measurePrefill(
  systems: readonly System[],
  tokens: readonly number[],
  times: number,
  clock: Clock,
): Promise<PrefillSeries[]> {
  const rounds = systems.map((): number[] => []);
  // The first steps after loading touch the weights' memory for the first time.
  await inTurn(systems, (system) => system.fill(tokens.slice(0, 512)));
  for (let round = 0; round < times; round++) {
    for (const [i, system] of systems.entries()) {
      rounds[i]!.push(await clock.alone(system, () => system.fill(tokens), `prefill of ${tokens.length}`));
    }
  }
  return systems.map(({ name }, i) => ({ system: name, context: tokens.length, rounds: rounds[i]! }));
}
