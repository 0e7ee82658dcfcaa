import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultThreads } from "../../attention/threads.ts";
import { loadModel } from "../../models/load.ts";
import { userCacheDir } from "../../models/registry.ts";
import type { PreparedModel } from "../../models/types.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { attentionOf, cacheOf } from "../attention.ts";
import { loadOptionsOf, toFlags } from "../options.ts";
import { finish } from "../record/finish.ts";
import { type BenchRecord, recordOf } from "../record/record.ts";
import { CHECK_PROMPT, checkAgreement } from "./agreement.ts";
import { Clock } from "./clock.ts";
import type { CompareOptions, PeerName } from "./command.ts";
import { ContextRounds, stepsAt } from "./context-rounds.ts";
import { WARM_UP_STEPS } from "./decode.ts";
import { decodeMeasurements, prefillMeasurements } from "./measurements.ts";
import { planMemory, type Skipped } from "./memory.ts";
import { type Peer, PeerMissing } from "./peer.ts";
import { peers } from "./peers.ts";
import { SparqSystem } from "./sparq.ts";
import type { System } from "./system.ts";
import { formatTables } from "./table.ts";

type Known = Readonly<Record<PeerName, Peer>>;

/** Measures sparq, and the peers that are there; writes tables to stdout, and what else the options ask for. */
export async function runCompare(options: CompareOptions, io: CliIo, known: Known = peers): Promise<number> {
  const model = await loadModel(options.model, loadOptionsOf(options));
  const systems: System[] = [];
  // Without --keep-fill only several contexts fill their caches more than once.
  const temporary =
    !options.keepFill && options.context.length > 1 ? mkdtempSync(join(tmpdir(), "sparq-fills-")) : undefined;
  const kept = options.keepFill ? join(userCacheDir(), "bench") : temporary;
  try {
    const record = await compare(options, model, { systems, kept, known, io });
    io.out(formatTables(record.measurements));
    return await finish(record, options, io);
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  } finally {
    for (const system of systems) system.close();
    if (temporary !== undefined) rmSync(temporary, { recursive: true, force: true });
  }
}

interface Setting {
  /** What is started is put here, for the caller to close. */
  readonly systems: System[];
  /** Folder for filled caches, which each round of a context takes again; none where they are filled once. */
  readonly kept: string | undefined;
  readonly known: Known;
  readonly io: CliIo;
}

async function compare(options: CompareOptions, model: PreparedModel, setting: Setting): Promise<BenchRecord> {
  const { systems, known, io } = setting;
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
  await startPeers({ ...options, threads }, model, setting, skip);
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
  const contexts = options.context.map(
    (context) => new ContextRounds({ context, systems, options, plan, skip, clock }),
  );
  try {
    // Contexts within a round: what slows the machine for a minute is in one round of many figures, not in all rounds of one.
    for (let round = 0; round < options.rounds; round++) {
      for (const context of contexts) await context.round(round, config.vocabSize);
    }
  } finally {
    clock.end();
  }
  const decoded = contexts.flatMap(({ cells }) => cells.map((cell) => cell.result()));
  for (const { skipped: reasons } of decoded) for (const one of reasons) skip(one);
  const prefill = contexts.flatMap((context) => context.prefill);
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
  { systems, kept, known, io }: Setting,
  skip: (one: Skipped) => void,
): Promise<void> {
  const { threads, python } = options;
  const folder = kept === undefined ? {} : { kept };
  const exported = options.export === undefined ? {} : { exported: options.export };
  for (const name of options.peers) {
    io.stop.throwIfAborted();
    try {
      systems.push(await known[name].start({ model, threads, python, ...folder, ...exported }));
    } catch (error) {
      if (!(error instanceof PeerMissing)) throw error;
      skip({ what: name, reason: error.message });
    }
  }
}

/** How often a system is let compute. */
function timesOf({ context, batch, rounds, prefill }: CompareOptions, systems: readonly System[]): number {
  const ways = systems.reduce((sum, { variants }) => sum + variants.length, 0);
  const fillings = context.length === 1 ? Math.max(prefill, 1) : Math.max(prefill, rounds);
  const warmUps = context.length === 1 ? 1 : rounds;
  return context.length * (systems.length * fillings + batch.length * ways * (warmUps + rounds));
}

function warnOfLength({ context, steps }: CompareOptions, { name, config }: PreparedModel, io: CliIo): void {
  const beyond = context.filter((positions) => positions + steps > config.maxPositions);
  if (beyond.length === 0) return;
  const made = `the ${config.maxPositions} positions that ${name} was made for`;
  io.err(`context ${beyond.join(", ")} and ${steps} steps go beyond ${made}: good for times only\n`);
}
