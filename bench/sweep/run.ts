import { loadAddon } from "../../attention/binding.ts";
import { defaultAttention, defaultCache } from "../../attention/defaults.ts";
import { BLOCK_SIZE, bytesPerBlock, openSession, type Session } from "../../attention/session.ts";
import { loadModel } from "../../models/load.ts";
import type { PreparedModel } from "../../models/types.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { OptionError } from "../../server/config.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { readRecallSet } from "../accuracy/recall.ts";
import { cacheOf, served } from "../attention.ts";
import { VariantError } from "../eval/variant-fields.ts";
import { layoutKey, parseVariants, settingsOf, type Variant } from "../eval/variants.ts";
import { readGBps } from "../kernel/measure.ts";
import { toFlags } from "../options.ts";
import { finish } from "../record/finish.ts";
import type { Measurement } from "../record/measurement.ts";
import { type BenchRecord, recordOf } from "../record/record.ts";
import { weightBytesOf } from "./bytes.ts";
import type { SweepOptions } from "./command.ts";
import { CopiedCache, prefill } from "./copies.ts";
import { measureCell } from "./measure.ts";
import { measurementsOf } from "./measurements.ts";
import { blocksOf, type Cell, cellsOf, fitting, nameOf, sourceBlocks } from "./plan.ts";
import { progressOf, tablesOf, withoutCrossover } from "./table.ts";

const CONTEXTS = [512, 1024, 2048, 4096, 8192, 16_384, 32_768];
const BATCHES = [1, 2, 4, 8, 16, 32];
const QUICK = { contexts: [1024, 4096, 16_384], batches: [1, 8], variants: "dense,default,sparq:1/8" };
const ROUNDS = { full: 9, quick: 3 };
/** After so many seconds --quick begins no more cells: the longest takes some seconds. */
const QUICK_SECONDS = 75;

/** Measures every cell that fits the memory; writes tables to stdout, and what the options ask for. */
export async function runSweep(options: SweepOptions, io: CliIo): Promise<number> {
  const started = performance.now();
  const variants = variantsOf(options);
  const model = await loadModel(options.model);
  const cache = cacheOf(options);
  const { contexts, batches } = sizesOf(options);
  const perBlock = bytesPerBlock(model.config, cache);
  const size = { blockSize: BLOCK_SIZE, bytesPerBlock: perBlock };
  const weightBytes = weightBytesOf(model);
  const { cells, skipped } = fitting(cellsOf(contexts, batches), size, weightBytes, process.availableMemory());
  for (const { what, reason } of skipped) io.err(`${what}: left out: ${reason}\n`);
  if (cells.length === 0) throw new Error("not one of the contexts and batches fits the memory");
  warnOfLength(contexts, model, io);

  const sources = sourceBlocks(cells, BLOCK_SIZE, model.config.maxPositions);
  const blocks = sources + Math.max(...cells.map((cell) => blocksOf(cell, BLOCK_SIZE)));
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const session = await openSession({ graphPath: model.graphPath, config: model.config, blocks, ...cache, ...threads });
  try {
    const sweep = new Sweep({ session, model, variants, sources, weightBytes, options, io, started });
    const measured = await sweep.run(cells);
    const record = recordOf({
      ...{ bench: "sweep", command: `sparq bench sweep ${toFlags({ ...options })}`, model: model.name },
      ...{ threads: session.threads, started, measurements: measured.measurements },
      versions: { kernels: loadAddon().defaultPath(), onnxruntime: session.session.runtimeVersion },
      settings: {
        ...{ cache, weightBytes, rounds: sweep.rounds, cacheBytesPerToken: perBlock / BLOCK_SIZE },
        ...{ prefilled: sources * BLOCK_SIZE, maxPositions: model.config.maxPositions },
        ...{ attention: sweep.described(contexts), stepsOfRound: measured.stepsOfRound },
      },
      skipped: [...skipped, ...measured.skipped, ...withoutCrossover(measured.measurements)],
    });
    io.out(tablesOf(record.measurements, (variant, context) => sweep.describe(variant, context)));
    return await finish(record, options, io);
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  } finally {
    session.close();
  }
}

interface SweepParts {
  readonly session: Session;
  readonly model: PreparedModel;
  readonly variants: readonly Variant[];
  readonly sources: number;
  readonly weightBytes: number;
  readonly options: SweepOptions;
  readonly io: CliIo;
  readonly started: number;
}

class Sweep {
  readonly rounds: number;
  private readonly parts: SweepParts;

  constructor(parts: SweepParts) {
    this.parts = parts;
    const { rounds, quick } = parts.options;
    this.rounds = rounds ?? ROUNDS[quick ? "quick" : "full"];
  }

  async run(cells: readonly Cell[]) {
    const { session, model, sources, weightBytes, options, io, started } = this.parts;
    const text = createTokenizer(model.tokenizer, model.config).encode(readRecallSet().filler);
    const tokens = Array.from({ length: sources * BLOCK_SIZE }, (_, i) => text[i % text.length]!);
    await prefill(session, tokens, defaultAttention(model.config));
    const cache = new CopiedCache(session, sources);
    const addon = loadAddon();
    const readBandwidth = () => 1e9 * readGBps({ addon, threads: session.threads });
    const measurements: Measurement[] = [];
    const skipped: BenchRecord["skipped"][number][] = [];
    const stepsOfRound: Record<string, number> = {};
    for (const [i, cell] of cells.entries()) {
      io.stop.throwIfAborted();
      if (options.quick && performance.now() - started > QUICK_SECONDS * 1000) {
        skipped.push({ what: nameOf(cell), reason: "no time left for it" });
        io.err(`${nameOf(cell)}: left out: no time left for it\n`);
        continue;
      }
      io.err(`${progressOf(cell, i, cells.length)}\n`);
      const tables = await cache.tablesOf(cell, io.stop);
      const ways = this.parts.variants.map((variant) => ({ variant: variant.name, ...this.at(variant, cell.context) }));
      const { rounds } = this;
      const { roundMs } = options;
      const conditions = { session, tables, tokens, rounds, roundMs, readBandwidth, stop: io.stop };
      const measured = await measureCell(cell, ways, conditions);
      stepsOfRound[nameOf(cell)] = measured.stepsOfRound;
      measurements.push(...measurementsOf(cell, measured, weightBytes));
    }
    return { measurements, skipped, stepsOfRound };
  }

  /** "sparq r 16 k 512" for a variant's name. */
  describe(name: string, context: number): string {
    const variant = this.parts.variants.find((one) => one.name === name)!;
    return this.at(variant, context).mode;
  }

  described(contexts: readonly number[]) {
    const of = (name: string) => Object.fromEntries(contexts.map((context) => [context, this.describe(name, context)]));
    return Object.fromEntries(this.parts.variants.map(({ name }) => [name, of(name)]));
  }

  private at(variant: Variant, context: number) {
    return served(settingsOf(variant, context, this.parts.model.config), context);
  }
}

function sizesOf({ context, batch, quick }: SweepOptions) {
  return {
    contexts: context ?? (quick ? QUICK.contexts : CONTEXTS),
    batches: batch ?? (quick ? QUICK.batches : BATCHES),
  };
}

const VARIANTS = "dense,default,sparq:1/2,sparq:1/4,sparq:1/8";

/** Throws OptionError for variants that one session's decode steps cannot run, or without dense among them. */
function variantsOf({ variants: given, quick }: SweepOptions): Variant[] {
  const text = given ?? (quick ? QUICK.variants : VARIANTS);
  const fail = (message: string) => new OptionError("variants", text, message);
  let variants: Variant[];
  try {
    variants = parseVariants(text);
  } catch (error) {
    if (error instanceof VariantError) throw fail(`is wrong: ${error.message}`);
    throw error;
  }
  if (!variants.some(({ name }) => name === "dense")) throw fail("must have dense: the others are compared with it");
  for (const { name, family, layout } of variants) {
    if (family === "onnx" || family === "h2o")
      throw fail(`must do without ${family}, which needs a session of its own`);
    if (layoutKey(layout) !== layoutKey({ ...defaultCache, trackMass: false })) {
      throw fail(`must share a cache, but ${name} names its own: --kv-dtype and --scan-dtype set that of all`);
    }
  }
  return variants;
}

function warnOfLength(contexts: readonly number[], { name, config }: PreparedModel, io: CliIo): void {
  const beyond = contexts.filter((context) => context >= config.maxPositions);
  if (beyond.length === 0) return;
  const made = `the ${config.maxPositions} positions that ${name} was made for`;
  io.err(`context ${beyond.join(", ")}: beyond ${made}: good for times only\n`);
}
