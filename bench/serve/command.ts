import { type Command, Option } from "commander";
import type { CliIo } from "../../server/cli/io.ts";
import { flagOf } from "../../server/cli/options.ts";
import { addModelBenchOptions, count, counts, MAX_CONTEXT, type ModelBenchOptions } from "../options.ts";
import { addRecordOptions, type RecordOptions } from "../record/options.ts";
import { bodyFields, burstinessOf, header, type Objective, objective, ratesOf, seconds } from "./option-values.ts";

export type Endpoint = "chat" | "completions";

export interface ServeOptions extends Omit<ModelBenchOptions, "model">, RecordOptions {
  readonly model?: string;
  /** A server to ask, instead of one started for it. */
  readonly url?: string;
  readonly endpoint: Endpoint;
  readonly requests: number;
  /** Requests a second; Infinity sends each as soon as there is a place for it. */
  readonly rate: readonly number[];
  readonly burstiness: number;
  readonly concurrency?: readonly number[];
  readonly inputTokens: number;
  /** Default: 64, or with data what the file's answers have. */
  readonly outputTokens?: number;
  readonly sharedPrefixTokens: number;
  readonly data?: string;
  readonly rounds: number;
  readonly warmup: number;
  readonly goodput?: Objective;
  readonly header: readonly (readonly [name: string, value: string])[];
  readonly extraBody: Readonly<Record<string, unknown>>;
  /** False with --no-ignore-eos. */
  readonly ignoreEos: boolean;
  readonly timeout: number;
  readonly seed: number;
}

const MODEL = "smollm2-135m-instruct";
/** What is for a server that is started here. */
const SERVER_OPTIONS = ["threads", "kvDtype", "scanDtype", "r", "k", "local"] as const;

/** `sparq bench serve` */
export function addServe(bench: Command, io: CliIo, exit: (code: number) => void): void {
  const command = bench
    .command("serve")
    .description("HTTP load on a server with OpenAI's endpoints: throughput, TTFT, TPOT, ITL, latency, goodput");
  addModelBenchOptions(command, `${MODEL}; with --url the first that the server names`);
  const list = (flags: string, description: string, parse: (text: string) => unknown, standard: unknown, as: string) =>
    command.addOption(new Option(flags, description).argParser(parse).default(standard, as));
  command
    .option("--url <url>", "ask this server, its key in OPENAI_API_KEY (default: a sparq serve of its own)")
    .addOption(new Option("--endpoint <name>", "what to ask").choices(["chat", "completions"]).default("chat"))
    .option("--requests <n>", "requests of each round", count(1, 1_000_000), 64);
  list("--rate <list>", "requests a second, each measured in turn; inf: all at once", ratesOf, [Infinity], "inf");
  command
    .option("--burstiness <x>", "1: a Poisson process; below in bursts, above more even, inf: even", burstinessOf, 1)
    .option(
      "--concurrency <list>",
      "requests under way at most, each measured in turn (default: 8 if the rate is inf, else no limit)",
      counts(1, 100_000),
    )
    .option("--input-tokens <n>", "tokens of each prompt, about", count(1, MAX_CONTEXT), 256)
    .option(
      "--output-tokens <n>",
      "tokens of each answer (default: 64; with --data about those of the file's answers)",
      count(1, MAX_CONTEXT),
    )
    .option("--shared-prefix-tokens <n>", "of a prompt's, those that a round's prompts share", count(0, MAX_CONTEXT), 0)
    .option("--data <file>", "prompts of ShareGPT's JSON or of JSON lines (default: words at random)")
    .option("--rounds <n>", "how often, each time with other prompts", count(1, 1000), 3)
    .option("--warmup <n>", "requests before, which do not count", count(0, 10_000), 4)
    .option("--goodput <list>", "objective of a request in ms, as in ttft:200,tpot:50,e2el:3000", objective)
    .addOption(
      new Option("--header <line>", "sent with each request, as in 'X-Team: search'; repeatable")
        .argParser(header)
        .default([], "none"),
    );
  list("--extra-body <json>", "fields of each request; null takes one out", bodyFields, {}, "none");
  command
    .option("--no-ignore-eos", "let answers end where the model ends them")
    .option("--timeout <s>", "seconds that an answer may take", seconds, 600)
    .option("--seed <n>", "which prompts, and when they come", count(0, 2 ** 31 - 1), 1);
  addRecordOptions(command).action(async (options: ServeOptions) => {
    const given = (name: string) => command.getOptionValueSource(name) === "cli";
    const wrong = contradiction(options, given);
    if (wrong !== null) command.error(`error: ${wrong}`);
    const { runServe } = await import("./run.ts");
    const { model, ...rest } = options;
    // A variable is meant for servers that are started here.
    const named = options.url === undefined ? (model ?? MODEL) : given("model") ? model : undefined;
    exit(await runServe({ ...rest, ...(named === undefined ? {} : { model: named }) }, io));
  });
}

/** What does not go together. */
function contradiction(options: ServeOptions, given: (name: string) => boolean): string | null {
  const { url, data, inputTokens, sharedPrefixTokens } = options;
  if (data !== undefined) {
    const own = ["inputTokens", "sharedPrefixTokens"].find(given);
    if (own !== undefined) return `${flagOf(own)} does not go with --data, which has its own prompts`;
  }
  if (sharedPrefixTokens >= inputTokens) {
    return `--shared-prefix-tokens ${sharedPrefixTokens} must be below --input-tokens ${inputTokens}`;
  }
  if (url === undefined) return null;
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) return `--url must be one of http or https, not '${url}'`;
  const own = SERVER_OPTIONS.find(given);
  return own === undefined ? null : `${flagOf(own)} is for a server that is started here, not for one at --url`;
}
