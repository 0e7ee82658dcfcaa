import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { loadModel } from "../../../models/load.ts";
import type { PreparedModel } from "../../../models/types.ts";
import type { CliIo } from "../../../server/cli/io.ts";
import { OptionError } from "../../../server/config.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";
import { describeMachine } from "../../machine.ts";
import { loadOptionsOf } from "../../options.ts";
import type { Distribution } from "../divergence.ts";
import type { CacheOptions } from "./command.ts";
import { Replay } from "./replay.ts";
import { type CacheReport, formatReport, VariantTally } from "./report.ts";
import { distributionsOf } from "./tally.ts";
import { denseReference, type Layout, sparqReference, variantsOf } from "./variants.ts";
import { type Window, windowsOf } from "./windows.ts";

/** Compares every variant with dense attention over an f32 cache, on the same rows of the same passages. */
export async function runCache(options: CacheOptions, io: CliIo): Promise<number> {
  const model = await loadModel(options.model, loadOptionsOf(options));
  checkSizes(options, model);
  const windows = readWindows(options, model);
  const variants = variantsOf(model.config, options.context, options.groups);
  const references = [denseReference(model.config), sparqReference(model.config)] as const;
  const sessions = new Map<string, Replay>();
  const tallies = [...references, ...variants].map((variant) => new VariantTally(variant));
  try {
    for (const { layout } of [...references, ...variants]) {
      if (!sessions.has(keyOf(layout))) sessions.set(keyOf(layout), await Replay.open(model, layout, options));
    }
    const { threads } = sessions.get(keyOf(references[0].layout))!.session;
    for (const [i, window] of windows.entries()) {
      await measure(window, { options, model, sessions, tallies, io });
      const report = reportOf(options, i + 1, threads, tallies);
      // After each window, since all of them take minutes.
      if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
      io.err(`${i + 1} of ${windows.length} windows\n`);
      if (i + 1 === windows.length) io.out(formatReport(report));
    }
    return 0;
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  } finally {
    for (const session of sessions.values()) session.close();
  }
}

function reportOf(
  options: CacheOptions,
  windows: number,
  threads: number,
  tallies: readonly VariantTally[],
): CacheReport {
  const { model, context, rows, text } = options;
  const texts = text.map((file) => ({ name: basename(file), sha256: sha256(readFileSync(file)) }));
  const results = tallies.map((tally) => tally.result(tallies[0]!));
  return { machine: describeMachine(threads), model, texts, windows, context, rows, results };
}

function checkSizes({ context, rows }: CacheOptions, { config }: PreparedModel): void {
  if (context > config.maxPositions) {
    throw new OptionError("context", context, `is over the model's ${config.maxPositions} positions`);
  }
  if (rows >= context) throw new OptionError("rows", rows, `must be below the context, which is ${context}`);
}

/** The first windows of all texts, then the second ones, ... */
function readWindows({ text, windows, context }: CacheOptions, model: PreparedModel): Window[] {
  const tokenizer = createTokenizer(model.tokenizer, model.config);
  const ofTexts = text.map((file) => {
    const tokens = tokenizer.encode(readFileSync(file, "utf8"), { addSpecialTokens: false });
    return windowsOf(basename(file), tokens, windows, context);
  });
  return Array.from({ length: windows }, (_, i) => ofTexts.map((own) => own[i]!)).flat();
}

interface Measuring {
  readonly options: CacheOptions;
  readonly model: PreparedModel;
  readonly sessions: ReadonlyMap<string, Replay>;
  /** The two references first. */
  readonly tallies: readonly VariantTally[];
  readonly io: CliIo;
}

/** All variants on one passage: those of one cache after one another, since it is filled once. */
async function measure({ tokens }: Window, { options, model, sessions, tallies, io }: Measuring): Promise<void> {
  const { context, rows } = options;
  const next = tokens.slice(context - rows + 1, context + 1);
  const dense = denseReference(model.config).attention;
  const [denseTally, sparqTally] = tallies;
  let ofDense: Distribution[] = [];
  let ofSparq: Distribution[] = [];
  for (const [key, session] of sessions) {
    io.stop.throwIfAborted();
    await session.prefill(tokens.slice(0, context), rows, dense);
    for (const tally of tallies.filter(({ variant }) => keyOf(variant.layout) === key)) {
      const { logits, traffic } = await session.decode(tally.variant.attention);
      const bytes = traffic.scoreBytes + traffic.gatherBytes + traffic.denseBytes;
      const distributions = distributionsOf(logits, model.config.vocabSize);
      if (tally === denseTally) ofDense = distributions;
      if (tally === sparqTally) ofSparq = distributions;
      tally.add({ rows: distributions, next, bytes, denseBytes: traffic.denseEquivalentBytes }, ofDense, ofSparq);
    }
  }
}

function keyOf({ dtype, scanDtype, blockSize }: Layout): string {
  return `${dtype} ${scanDtype} ${blockSize}`;
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
