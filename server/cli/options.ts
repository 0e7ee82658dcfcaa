import { type Command, Option } from "commander";

/** Adds an option that can also be set by SPARQ_ and its name in capitals. Values are checked when the command runs. */
export function addOption(command: Command, flags: string, description: string): Command {
  const option = new Option(flags, description);
  return command.addOption(option.env(variableOf(option.attributeName())));
}

/** As addOption, for an option that may be given more than once; its value is a list, and its variable may end in S. */
export function addListOption(command: Command, flags: string, description: string): Command {
  const option = new Option(flags, description);
  // Commander hands over what the other source gave when a variable and a flag are set; the flags then count alone.
  const collect = (value: string, before: string[] | undefined) => {
    return command.getOptionValueSource(option.attributeName()) === "cli" ? [...(before ?? []), value] : [value];
  };
  const variable = variableOf(option.attributeName());
  const plural = `${variable}S`;
  return command.addOption(option.argParser(collect).env(plural in process.env ? plural : variable));
}

/** A switch. Its variable turns it on as well, unless it is 0, false, no, off or empty. */
export function addSwitch(command: Command, flags: string, description: string): Command {
  const option = new Option(flags, description);
  const variable = variableOf(option.attributeName());
  if (/^(0|false|no|off|)$/i.test(process.env[variable] ?? "1")) {
    return command.addOption(new Option(flags, `${description} (env: ${variable})`));
  }
  return command.addOption(option.env(variable));
}

/** "kvCacheMb" is SPARQ_KV_CACHE_MB. */
export function variableOf(name: string): string {
  return `SPARQ_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** "kvCacheMb" is --kv-cache-mb. */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** What every command that runs a model takes; `config.ts` has the defaults and ranges. */
export function addModelOptions(command: Command): Command {
  addOption(
    command,
    "--model <name|path>",
    "a built-in or pulled model, a folder (an export or a checkpoint), an .onnx or a .gguf (default: tiny-llama)",
  );
  addOption(
    command,
    "--attention <mode>",
    "sparq or dense, for requests that do not say; or onnx: an ONNX model as it is, dense, by ONNX Runtime (default: sparq)",
  );
  addOption(
    command,
    "--quantize <type>",
    "keep the weights of a safetensors checkpoint in int4 or int8, converted at the first start (default: as they are)",
  );
  addOption(command, "--threads <n>", "threads to compute with (default: what this container may use)");
  addOption(command, "--kv-cache-mb <n>", "size of the KV cache (default: a quarter of the free memory, 8192 at most)");
  addOption(command, "--kv-dtype <type>", "how keys and values are kept: f32, f16, bf16, int8 or fp8 (default: f16)");
  addOption(
    command,
    "--scan-dtype <type>",
    "how the keys that SparQ scans are kept: f32, f16, bf16 or int8 (default: int8)",
  );
  addOption(command, "--max-context <n>", "longest sequence in tokens (default: what the model and the cache allow)");
  addOption(
    command,
    "--preset <name>",
    "SparQ: quality, which loses nothing that shows, or speed, which reads less (default: quality)",
  );
  addOption(command, "--r <n>", "SparQ: query components in the score pass (default: a quarter of the head size)");
  addOption(
    command,
    "--k <n>",
    "SparQ: positions attended exactly, at least (default: 512, or 256 with --preset speed)",
  );
  addOption(
    command,
    "--k-share <x>",
    "SparQ: share of the context attended exactly, where it is more than k (default: 0.125; 0 with --k or --preset speed)",
  );
  addOption(command, "--local <n>", "SparQ: most recent positions always kept (default: a quarter of k)");
  addOption(
    command,
    "--min-context <n>",
    "SparQ: attend densely up to so many positions (default: 3072, 1024 with --preset speed, or 0 when --r, --k or --attention sparq is given)",
  );
  addOption(
    command,
    "--top-k-buckets <n>",
    "SparQ: approximate top-k by the 1, 2 or 4 best of each bucket (default: 0, exact)",
  );
  addOption(
    command,
    "--sampling-defaults <whose>",
    "model or api: for requests that do not say, temperature, top_p, top_k, min_p and repetition_penalty of the model's generation_config.json or genai_config.json (if it has do_sample), or OpenAI's defaults (default: model)",
  );
  addOption(
    command,
    "--speculation <mode>",
    "auto or off: guess next tokens from what the text has had before, where that saves time (default: auto)",
  );
  return addOption(command, "--draft-tokens <n>", "tokens guessed ahead at most, 1 to 64 (default: 8)");
}
