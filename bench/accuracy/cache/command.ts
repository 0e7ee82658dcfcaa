import { type Command, InvalidArgumentError, Option } from "commander";
import type { CliIo } from "../../../server/cli/io.ts";
import { variableOf } from "../../../server/cli/options.ts";
import { addLoadOptions, count, type LoadOptions, MAX_CONTEXT } from "../../options.ts";
import { type Group, groups } from "./variants.ts";

export interface CacheOptions extends LoadOptions {
  readonly model: string;
  readonly threads?: number;
  /** Text files. */
  readonly text: readonly string[];
  /** Of each text. */
  readonly windows: number;
  readonly context: number;
  /** The last positions of a window, which are decoded. */
  readonly rows: number;
  readonly groups: readonly Group[];
  readonly json?: string;
}

const MODEL = "smollm2-135m-instruct";

/** `sparq bench cache` */
export function addCache(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const cache = bench
    .command("cache")
    .description(
      "accuracy of cache dtypes and of SparQ's approximations: KL divergence from dense attention over an f32 cache",
    );
  const model = new Option("--model <name|path>", `a built-in or pulled model, or a file (default: ${MODEL})`);
  const threads = new Option("--threads <n>", "threads to compute with (default: what this container may use)");
  const context = new Option("--context <n>", "tokens of a passage");
  const rows = new Option("--rows <n>", "its last positions, which are decoded and compared");
  addLoadOptions(cache)
    .addOption(model.env(variableOf("model")))
    .addOption(threads.argParser(count(1, 1024)).env(variableOf("threads")))
    .requiredOption("--text <file>", "text to read; may be given more than once", (file, files: string[] = []) => [
      ...files,
      file,
    ])
    .option("--windows <n>", "passages of each text, evenly spread over it", count(1, 10_000), 4)
    .addOption(context.argParser(count(2, MAX_CONTEXT)).env(variableOf("context")).default(2048))
    .addOption(rows.argParser(count(1, 4096)).env(variableOf("rows")).default(128))
    .addOption(new Option("--groups <list>", `of ${groups.join(", ")}`).argParser(groupList).default(groups, "all"))
    .option("--json <file>", "write the results there too")
    .action(async (options: Omit<CacheOptions, "model"> & { model?: string }) => {
      const { runCache } = await import("./run.ts");
      exit(await runCache({ ...options, model: options.model ?? MODEL }, io));
    });
}

function groupList(text: string): readonly Group[] {
  const names = text.split(",");
  if (names.every((name): name is Group => (groups as readonly string[]).includes(name))) return names;
  throw new InvalidArgumentError(`It must be of ${groups.join(", ")}, separated by commas.`);
}
