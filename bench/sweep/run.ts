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
import { loadOptionsOf, toFlags } from "../options.ts";
import { finish } from "../record/finish.ts";
import { type BenchRecord, recordOf } from "../record/record.ts";
import { weightBytesOf } from "./bytes.ts";
import type { SweepOptions } from "./command.ts";
import { CopiedCache, prefill } from "./copies.ts";
import { CellRounds } from "./measure.ts";
import { measurementsOf } from "./measurements.ts";
import { blocksOf, type Cell, cellsOf, fitting, nameOf, sourceBlocks } from "./plan.ts";
import { progressOf, tablesOf, withoutCrossover } from "./table.ts";

const CONTEXTS = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072];
const BATCHES = [1, 2, 4, 8, 16, 32];
const QUICK = { contexts: [1024, 4096, 16_384], batches: [1, 8], variants: "dense,default,sparq:1/8" };
const ROUNDS = { full: 9, quick: 3 };
/** What the rounds of --quick may take: each its share, after which the first begins no more cells. */
const QUICK_SECONDS = 75;

/** Measures every cell that fits the memory; writes tables to stdout, and what the options ask for. */
export async function runSweep(options: SweepOptions, io: CliIo): Promise<number> {
  const started = performance.now();
  const variants = variantsOf(options);
  const model = await loadModel(options.model, loadOptionsOf(options));
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
    const sweep = new Sweep({ session, model, variants, sources, weightBytes, options, io });
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
    const { session, model, sources, weightBytes, options, io } = this.parts;
    const text = createTokenizer(model.tokenizer, model.config).encode(readRecallSet().filler);
    const tokens = Array.from({ length: sources * BLOCK_SIZE }, (_, i) => text[i % text.length]!);
    await prefill(session, tokens, defaultAttention(model.config));
    const cache = new CopiedCache(session, sources);
    const addon = loadAddon();
    const readBandwidth = () => 1e9 * readGBps({ addon, threads: session.threads });
    const { roundMs } = options;
    const conditions = { session, tokens, roundMs, readBandwidth, stop: io.stop };
    const waysAt = ({ context }: Cell) =>
      this.parts.variants.map((variant) => ({ variant: variant.name, ...this.at(variant, context) }));
    const begun: CellRounds[] = [];
    const skipped: BenchRecord["skipped"][number][] = [];
    // Cells within a round, so that what slows the machine for a minute is in one round of many cells, not in all rounds of one.
    const since = performance.now();
    for (let round = 0; round < this.rounds; round++) {
      const own = round === 0 ? cells : begun.map((one) => one.cell);
      for (const [i, cell] of own.entries()) {
        io.stop.throwIfAborted();
        if (round === 0 && this.late(since)) {
          skipped.push({ what: nameOf(cell), reason: "no time left for it" });
          io.err(`${nameOf(cell)}: left out: no time left for it\n`);
          continue;
        }
        io.err(`${progressOf({ round, rounds: this.rounds, cell, i, cells: own.length })}\n`);
        if (round === 0) begun.push(new CellRounds(cell, waysAt(cell), conditions));
        await begun[i]!.round(await cache.tablesOf(cell, io.stop));
      }
    }
    const results = begun.map((one) => ({ cell: one.cell, measured: one.result() }));
    return {
      measurements: results.flatMap(({ cell, measured }) => measurementsOf(cell, measured, weightBytes)),
      skipped,
      stepsOfRound: Object.fromEntries(results.map(({ cell, measured }) => [nameOf(cell), measured.stepsOfRound])),
    };
  }

  /** With --quick, whether the first round has taken its share of the time. */
  private late(since: number): boolean {
    return this.parts.options.quick === true && (performance.now() - since) * this.rounds > QUICK_SECONDS * 1000;
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
