import { type Command, InvalidArgumentError, Option } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { variableOf } from "../../server/cli/options.ts";
import { addLoadOptions, count, counts, type LoadOptions, MAX_CONTEXT } from "../options.ts";

/** What tasks there are stands in tasks/index.ts, which is not imported before it is needed. */
export interface EvalOptions extends LoadOptions {
  readonly model?: string;
  /** A server to ask, instead of a model in this process. */
  readonly url?: string;
  readonly tasks: readonly string[];
  readonly variants: string;
  readonly n: number;
  readonly seed: number;
  readonly tokens?: readonly number[];
  readonly shots?: number;
  readonly data: ReadonlyMap<string, string>;
  readonly batch: number;
  readonly kvCacheMb: number;
  readonly threads?: number;
  readonly question: "variant" | "dense";
  readonly prompts: "plain" | "chat";
  readonly json?: string;
  readonly resume?: boolean;
  /** A report to measure again and to hold against. */
  readonly gate?: string;
  /** A page to write. */
  readonly report?: string;
}

/** `sparq eval` */
export function addEval(program: Command, io: CliIo, exit: (code: number) => void): void {
  const command = program
    .command("eval")
    .description("measure what a model gets right by mode of attention; docs/evaluation.md says how");
  const model = new Option("--model <name|path>", "a built-in or pulled model, or a file (default: tiny-llama)");
  const threads = new Option("--threads <n>", "threads to compute with (default: what this container may use)");
  addLoadOptions(command)
    .addOption(model.env(variableOf("model")))
    .addOption(threads.argParser(count(1, 1024)).env(variableOf("threads")))
    .option("--url <url>", "ask a server with OpenAI's endpoints instead; its key is in OPENAI_API_KEY")
    .option(
      "--tasks <list>",
      "of squad, squad-answers, triviaqa, summarisation, wikitext, repetition, needle, recall, ppl, agreement",
      list,
      ["squad", "wikitext", "repetition", "recall"],
    )
    .option(
      "--variants <list>",
      "ways to attend: dense, default, sparq:1/4, sparq:r=16,k=128, window:1/4, ...",
      "dense,default,sparq:1/2,sparq:1/4,sparq:1/8,window:1/4",
    )
    .option("--n <n>", "items of each task", count(1, 1_000_000), 50)
    .option("--seed <n>", "which items, and how they are put together", count(0, 2 ** 31 - 1), 1)
    .option(
      "--tokens <list>",
      "about how long prompts are to be (default: as each task has it)",
      counts(64, MAX_CONTEXT),
    )
    .option("--shots <n>", "answered questions before one that is asked (default: squad 1, triviaqa 0)", count(0, 16))
    .option(
      "--data <task=file>",
      "a task's data set, in its own format; repeatable (default: samples)",
      dataFile,
      new Map(),
    )
    .option("--batch <n>", "items under way at the same time", count(1, 256), 8)
    .addOption(
      new Option("--kv-cache-mb <n>", "memory for the cache at most; fewer items are under way if it does not suffice")
        .argParser(count(1, 2 ** 24))
        .default(2048)
        .env(variableOf("kvCacheMb")),
    )
    .addOption(
      new Option(
        "--question <mode>",
        "how the question after a context attends: as the variant, or dense as in a server",
      )
        .choices(["variant", "dense"])
        .default("variant"),
    )
    .addOption(
      new Option("--prompts <style>", "prompts as they are, or as a user's message in the model's chat template")
        .choices(["plain", "chat"])
        .default("plain"),
    )
    .option("--json <file>", "write the results there too, as they come")
    .option("--resume", "go on with what --json holds already")
    .option(
      "--gate <file>",
      "measure again what this file of results holds, and fail if a value is worse than its error allows",
    )
    .option("--report <file>", "write a page with pictures of the results, or of files of results that are given")
    .argument("[files...]", "files of results, for --report; nothing is measured then")
    .action(async (files: readonly string[], options: EvalOptions) => {
      const { runEval, writeReport } = await import("./run.ts");
      exit(files.length > 0 ? await writeReport(files, options) : await runEval(options, io));
    });
}

function list(text: string): readonly string[] {
  return text.split(",").map((name) => name.trim());
}

function dataFile(text: string, files: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const found = /^([a-z-]+)=(.+)$/.exec(text);
  if (found === null) throw new InvalidArgumentError("It must be a task and its file, as in squad=dev-v1.1.json.");
  return new Map([...files, [found[1]!, found[2]!]]);
}
