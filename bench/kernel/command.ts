import { type Command, InvalidArgumentError, Option } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { variableOf } from "../../server/cli/options.ts";
import { count, counts, MAX_CONTEXT } from "../options.ts";
import { type ShapeName, shapeNames } from "./cases.ts";

export const kernelPaths = ["avx512vnni", "avx512", "avx2", "neondot", "neon", "scalar"] as const;

export interface KernelOptions {
  readonly path?: (typeof kernelPaths)[number];
  readonly threads?: number;
  readonly contexts?: readonly number[];
  readonly batch?: readonly number[];
  readonly shape?: readonly ShapeName[];
  readonly rounds?: number;
  readonly quick?: boolean;
  readonly json?: string;
}

/** `sparq bench kernel` */
export function addKernel(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const option = (flags: string, description: string) => new Option(flags, description);
  const threads = option("--threads <n>", "threads to compute with (default: what this container may use)");
  bench
    .command("kernel")
    .description("time of the attention kernels alone, dense and SparQ in turn, beside the memory's read bandwidth")
    .addOption(option("--path <isa>", "instruction set (default: the fastest here, or SPARQ_ISA)").choices(kernelPaths))
    .addOption(threads.env(variableOf("threads")).argParser(count(1, 1024)))
    .option(
      "--contexts <list>",
      "positions in each sequence's cache, separated by commas (default: 1024,2048,8192,32768,131072)",
      counts(1, MAX_CONTEXT),
    )
    .option("--batch <list>", "sequences of a step, separated by commas (default: 1,8)", counts(1, 1024))
    .option(
      "--shape <list>",
      `heads of which model, separated by commas: ${shapeNames.join(", ")} (default: all)`,
      toShapes,
    )
    .option("--rounds <n>", "runs of each kernel, in turn (default: 7, 3 with --quick)", count(1, 1000))
    .option("--quick", "fewer kernels and shapes, an end within a minute")
    .option("--json <file>", "write the results there too")
    .action(async (options: KernelOptions) => {
      const { runKernel } = await import("./run.ts");
      exit(await runKernel(options, io));
    });
}

function toShapes(text: string): readonly ShapeName[] {
  const names = [...new Set(text.split(","))];
  const known = shapeNames.filter((name) => names.includes(name));
  if (known.length === names.length) return known;
  throw new InvalidArgumentError(`It must be of ${shapeNames.join(", ")}, separated by commas.`);
}
