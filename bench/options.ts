import { type Command, InvalidArgumentError, Option } from "commander";
import { type CacheDtype, cacheDtypes, type ScanDtype, scanDtypes } from "../attention/types.ts";
import { type Quantisation, quantisations } from "../models/safetensors/quantisations.ts";
import { flagOf, variableOf } from "../server/cli/options.ts";

/** A whole number from `min` to `max`; commander makes exit code 2 of anything else. */
export function count(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}

/** Whole numbers from `min` to `max` separated by commas, each once, ascending. */
export function counts(min: number, max: number): (text: string) => readonly number[] {
  return (text) => {
    const values = text.split(",").map((part) => (/^\d{1,10}$/.test(part) ? Number(part) : Number.NaN));
    if (values.every((value) => value >= min && value <= max)) return [...new Set(values)].sort((a, b) => a - b);
    throw new InvalidArgumentError(`It must be whole numbers from ${min} to ${max}, separated by commas.`);
  };
}

export const MAX_CONTEXT = 2 ** 20;

/** What a model is loaded with, where it leaves a choice; SPARQ_QUANTIZE and SPARQ_MAX_CONTEXT set it as well. */
export interface LoadOptions {
  readonly quantize?: Quantisation;
  readonly maxContext?: number;
}

/** What every measurement of a model takes; SPARQ_MODEL, SPARQ_THREADS, ... set it as well. */
export interface ModelOptions extends LoadOptions {
  readonly model: string;
  readonly threads?: number;
  readonly kvDtype?: CacheDtype;
  readonly scanDtype?: ScanDtype;
}

/** And what those take that measure one setting of SparQ. */
export interface ModelBenchOptions extends ModelOptions {
  readonly r?: number;
  readonly k?: number;
  readonly local?: number;
}

type AddOption = (flags: string, description: string, parse?: ((text: string) => unknown) | readonly string[]) => void;

function addingTo(command: Command): AddOption {
  return (flags, description, parse) => {
    const option = new Option(flags, description);
    if (typeof parse === "function") option.argParser(parse);
    else if (parse) option.choices(parse);
    command.addOption(option.env(variableOf(option.attributeName())));
  };
}

export function addLoadOptions(command: Command): Command {
  const add = addingTo(command);
  add("--quantize <type>", "keep a checkpoint's weights in int4 or int8 (default: as they are)", quantisations);
  add(
    "--max-context <n>",
    "longest sequence in tokens, by which some models scale rope (default: as the model was made)",
    count(2, 2 ** 31 - 1),
  );
  return command;
}

/** The options of a command that `loadModel` takes. */
export function loadOptionsOf({ quantize, maxContext }: LoadOptions): LoadOptions {
  return { ...(quantize === undefined ? {} : { quantize }), ...(maxContext === undefined ? {} : { maxContext }) };
}

export function addModelOptions(command: Command, model: string): Command {
  const add = addingTo(command);
  add("--model <name|path>", `a built-in or pulled model, or a file (default: ${model})`);
  addLoadOptions(command);
  add("--threads <n>", "threads to compute with (default: what this container may use)", count(1, 1024));
  add("--kv-dtype <type>", "how sparq keeps keys and values (default: as sparq serve)", cacheDtypes);
  add("--scan-dtype <type>", "how sparq keeps the keys that SparQ scans (default: as sparq serve)", scanDtypes);
  return command;
}

export function addModelBenchOptions(command: Command, model: string): Command {
  const add = addingTo(addModelOptions(command, model));
  add("--r <n>", "SparQ: query components in the score pass (default: a quarter of the head size)", count(1, 65536));
  add(
    "--k <n>",
    "SparQ: positions attended exactly (default: as sparq serve, 512 or an eighth of the context)",
    count(1, 2 ** 31 - 1),
  );
  add("--local <n>", "SparQ: most recent positions always kept (default: a quarter of k)", count(0, 2 ** 31 - 1));
  return command;
}

/** Where results go and what they are held against: not part of what was measured. */
const outputs: readonly string[] = ["json", "report", "baseline"];

/** The options as flags again, for the record: `--batch 1,8 --prefill`. Absent and false ones, and `outputs`, are left out. */
export function toFlags(options: Readonly<Record<string, unknown>>): string {
  const given = Object.entries(options).filter(
    ([name, value]) => value !== undefined && value !== false && !outputs.includes(name),
  );
  return given.map(([name, value]) => (value === true ? flagOf(name) : `${flagOf(name)} ${value}`)).join(" ");
}
