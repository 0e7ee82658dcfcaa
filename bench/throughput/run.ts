import { setMaxListeners } from "node:events";
import { loadModel } from "../../models/load.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { type Progress, progressLine } from "../../server/cli/progress.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { VariantError } from "../eval/variant-fields.ts";
import { parseVariants, type Variant } from "../eval/variants.ts";
import { loadOptionsOf, toFlags } from "../options.ts";
import { finish } from "../record/finish.ts";
import type { Measurement } from "../record/measurement.ts";
import { readRecord, recordOf } from "../record/record.ts";
import type { ThroughputOptions } from "./command.ts";
import { type Counted, countTraffic } from "./count.ts";
import { measurementsOf } from "./measurements.ts";
import { OfflineError, type OfflineOptions, type OfflineRun, runOffline } from "./offline.ts";
import { Stores } from "./stores.ts";
import { tableOf, warningOf } from "./table.ts";
import { checkFits, describeWorkload, type Workload } from "./workload.ts";
import { workloadsOf } from "./workloads.ts";

/** Measures every workload, batch and variant that the options name. Returns the exit code. */
export async function runThroughput(options: ThroughputOptions, io: CliIo): Promise<number> {
  // Each request listens while it runs.
  setMaxListeners(0, io.stop);
  const started = performance.now();
  const variants = variantsOf(options.variants);
  if (options.baseline) readRecord(options.baseline); // What is wrong with it is said at once.
  const model = await loadModel(options.model, loadOptionsOf(options));
  const { config } = model;
  const tokenizer = createTokenizer(model.tokenizer, config);
  const contextLength = config.maxPositions;
  const workloads = workloadsOf(options, { tokenizer, vocabSize: config.vocabSize, contextLength });
  for (const workload of workloads) checkFits(workload, contextLength, `${model.name} has a context of`);
  const { threads, kvCacheMb } = options;
  const stores = await Stores.open(variants, {
    model,
    batch: Math.max(...options.batch),
    ...(threads === undefined ? {} : { threads }),
    ...(kvCacheMb === undefined ? {} : { megabytes: kvCacheMb }),
  });
  const progress = progressLine(io);
  try {
    for (const workload of workloads) checkFits(workload, stores.positions, "the cache (--kv-cache-mb) holds");
    const { prefillSlowdown } = options;
    const engine = {
      config,
      tokenizer,
      prefillSlowdown: prefillSlowdown === 0 ? Number.POSITIVE_INFINITY : prefillSlowdown,
      signal: io.stop,
    };
    const bench = new Bench(options, variants, stores, engine, progress);
    const measurements: Measurement[] = [];
    for (const workload of workloads) measurements.push(...(await bench.measure(workload, workloads.length)));
    progress.end();
    const record = recordOf({
      bench: "throughput",
      command: `sparq bench throughput ${toFlags({ ...options })}`,
      model: model.name,
      threads: stores.threads,
      versions: { onnxruntime: stores.runtimeVersion },
      settings: {
        workload: options.workload,
        workloads: workloads.map(describeWorkload),
        cache: stores.describe(),
        prefillSlowdown: options.prefillSlowdown,
        temperature: 1,
        outputs: bench.outputs,
      },
      started,
      measurements,
    });
    io.out(tableOf(record, variants[0]!.name));
    io.err(warningOf(record));
    if (options.baseline) io.out("\n");
    return await finish(record, options, io);
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  } finally {
    progress.end();
    stores.close();
  }
}

function variantsOf(text: string): Variant[] {
  const variants = parseVariants(text);
  if (variants.some(({ family }) => family === "onnx")) {
    throw new VariantError("variant onnx does not run in the engine: its throughput cannot be measured");
  }
  return variants;
}

type EngineOptions = Pick<OfflineOptions, "config" | "tokenizer" | "prefillSlowdown" | "signal">;

class Bench {
  /** Of each workload and variant, what SHA-256 of all output tokens begins with. */
  readonly outputs: Record<string, string> = {};
  private readonly options: ThroughputOptions;
  private readonly variants: readonly Variant[];
  private readonly stores: Stores;
  private readonly engine: EngineOptions;
  private readonly progress: Progress;
  private done = 0;

  constructor(
    options: ThroughputOptions,
    variants: readonly Variant[],
    stores: Stores,
    engine: EngineOptions,
    progress: Progress,
  ) {
    this.options = options;
    this.variants = variants;
    this.stores = stores;
    this.engine = engine;
    this.progress = progress;
  }

  /** One workload of `workloads`: counted and warmed up first, then rounds in which variants take turns. */
  async measure(workload: Workload, workloads: number): Promise<Measurement[]> {
    const { batch: batches, rounds, requests } = this.options;
    const total = workloads * this.variants.length * (1 + rounds * batches.length) * requests;
    const counted: Counted[] = [];
    for (const variant of this.variants) {
      const what = titleOf(workload, `counting bytes, ${variant.name}`);
      const options = await this.optionsOf(variant, Math.max(...batches), what, total);
      counted.push(await countTraffic(workload, variant, options));
      this.outputs[titleOf(workload, variant.name)] = counted.at(-1)!.run.digest.slice(0, 16);
    }
    const runs = new Map(batches.map((batch) => [batch, this.variants.map((): OfflineRun[] => [])]));
    for (let round = 0; round < rounds; round++) {
      for (const batch of batches) {
        // Another variant is the first in each round: what comes before a run is not the same for one of them always.
        for (let turn = 0; turn < this.variants.length; turn++) {
          const v = (round + turn) % this.variants.length;
          const variant = this.variants[v]!;
          const what = titleOf(workload, `round ${round + 1} of ${rounds}, batch ${batch}, ${variant.name}`);
          const run = await runOffline(workload, variant, await this.optionsOf(variant, batch, what, total));
          checkSame(run, counted[v]!.run, what);
          runs.get(batch)![v]!.push(run);
        }
      }
    }
    return batches.flatMap((batch) =>
      this.variants.flatMap(({ name }, v) => {
        const own = runs.get(batch)!;
        const labels = { variant: name, batch, ...workload.labels };
        const reference = v === 0 ? null : own[0]!;
        return measurementsOf({ labels, runs: own[v]!, traffic: counted[v]!.traffic, reference }, requests);
      }),
    );
  }

  private async optionsOf(variant: Variant, batch: number, what: string, total: number): Promise<OfflineOptions> {
    this.engine.signal.throwIfAborted();
    this.progress.update(this.done, total, what);
    const session = await this.stores.of(variant);
    const onRequest = () => {
      this.done += 1;
      this.progress.update(this.done, total, what);
    };
    return { ...this.engine, session, batch, onRequest };
  }
}

function titleOf({ labels }: Workload, what: string): string {
  return [...Object.entries(labels).map(([name, value]) => `${name} ${value}`), what].join(", ");
}

/** The same requests have the same answers whatever runs beside them; else rounds and batches did different work. */
function checkSame(run: OfflineRun, counted: OfflineRun, what: string): void {
  if (run.digest !== counted.digest) {
    throw new OfflineError(`${what}: the output tokens are not those of the run in which bytes were counted`);
  }
}
