import { writeFileSync } from "node:fs";
import { loadAddon } from "../../attention/binding.ts";
import { defaultThreads } from "../../attention/threads.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { version } from "../../server/version.ts";
import { describeMachine } from "../machine.ts";
import { toFlags } from "../options.ts";
import { median } from "../statistics.ts";
import { type Cell, type Family, familiesOf, type ShapeName, shapeNames } from "./cases.ts";
import type { KernelOptions } from "./command.ts";
import { lastLevelCache, MemoryError } from "./layers.ts";
import { type Conditions, measureFamily, readGBps } from "./measure.ts";
import { formatReport, type KernelReport, type KernelResult, resultsOf, type Skipped, withNaive } from "./report.ts";

const CONTEXTS = [1024, 2048, 8192, 32768, 131072];
const BATCHES = [1, 8];
/** Of --quick: filling the larger model's caches of eight sequences takes too long. */
const QUICK_BATCHES: Readonly<Record<ShapeName, readonly number[]>> = { "smollm2-135m": BATCHES, llama: [1] };
const ROUNDS = { full: 7, quick: 3 };
/** After so many seconds --quick begins nothing more: the longest of its families takes some seconds. */
const QUICK_SECONDS = 45;

/** Measures every cell's kernels; writes tables to stdout, and the report to `options.json`. */
export async function runKernel(options: KernelOptions, io: CliIo): Promise<number> {
  const addon = loadAddon();
  const path = options.path ?? addon.defaultPath();
  if (!addon.availablePaths().includes(path)) {
    throw new Error(`this processor has no ${path}; it runs ${addon.availablePaths().join(", ")}`);
  }
  const quick = options.quick === true;
  const threads = options.threads ?? defaultThreads();
  const warn = (text: string) => io.err(`${text}\n`);
  const rounds = options.rounds ?? ROUNDS[quick ? "quick" : "full"];
  const conditions = { addon, path, threads, rounds, cacheBytes: lastLevelCache(), stop: io.stop, warn };
  const started = performance.now();
  const seconds = () => (performance.now() - started) / 1000;
  try {
    const measured = await measureCells(
      cellsOf(options),
      conditions,
      io,
      quick,
      () => quick && seconds() > QUICK_SECONDS,
    );
    const { speeds, results, skipped } = measured;
    const report: KernelReport = {
      machine: { ...describeMachine(threads), path, lastLevelCacheBytes: conditions.cacheBytes },
      ...{ readGBps: median(speeds), readGBpsRange: [Math.min(...speeds), Math.max(...speeds)] },
      versions: { node: process.versions.node, sparq: version },
      command: `sparq bench kernel ${toFlags({ ...options })}`.trim(),
      ...{ seconds: seconds(), results, skipped },
    };
    io.out(formatReport(report));
    if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
    return results.length > 0 ? 0 : 1;
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  }
}

function cellsOf({ contexts = CONTEXTS, batch, shape = shapeNames, quick }: KernelOptions): Cell[] {
  const batches = (name: ShapeName) => batch ?? (quick ? QUICK_BATCHES[name] : BATCHES);
  return shape.flatMap((name) =>
    batches(name).flatMap((sequences) => contexts.map((context) => ({ shape: name, context, batch: sequences }))),
  );
}

async function measureCells(
  cells: readonly Cell[],
  conditions: Conditions,
  io: CliIo,
  quick: boolean,
  isLate: () => boolean,
) {
  const speeds: number[] = [readGBps(conditions)];
  const results: KernelResult[] = [];
  const skipped: Skipped[] = [];
  for (const cell of cells) {
    const own: KernelResult[] = [];
    for (const family of familiesOf(cell, quick)) {
      const leaveOut = (reason: string) => {
        skipped.push({ ...cell, stores: namesOf(family), reason });
        io.err(`${describe(cell)}, ${namesOf(family)}: left out: ${reason}\n`);
      };
      if (isLate()) {
        leaveOut("no time left for it");
        continue;
      }
      io.err(`${describe(cell)}, ${namesOf(family)}\n`);
      const speed = readGBps(conditions);
      speeds.push(speed);
      try {
        own.push(...resultsOf(cell, await measureFamily(cell, family, conditions), speed));
      } catch (error) {
        if (!(error instanceof MemoryError)) throw error;
        leaveOut(error.message);
      }
    }
    results.push(...withNaive(own));
  }
  return { speeds, results, skipped };
}

function describe({ shape, context, batch }: Cell): string {
  return `${shape}, S ${context}, batch ${batch}`;
}

function namesOf(family: Family): string {
  return family.map(({ dtype, scanDtype }) => `${dtype}/${scanDtype}`).join(" ");
}
