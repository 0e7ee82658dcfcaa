import { z } from "zod";
import { attentionPresets, defaultCache } from "../attention/defaults.ts";
import { cacheDtypes, scanDtypes } from "../attention/types.ts";
import { quantisations } from "../models/safetensors/quantise.ts";
import { defaultSchedulerSettings } from "./engine/scheduler-types.ts";
import { defaultSpeculation } from "./engine/speculation.ts";
import { toolFormatNames } from "./tools/formats.ts";

/** A whole number in a range, from a flag's or a variable's text. */
function integer(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.coerce.number({ error }).int({ error }).min(min, { error }).max(max, { error });
}

/** One of a few numbers. */
function oneOf<const T extends readonly number[]>(...values: T) {
  const error = `must be ${values.slice(0, -1).join(", ")} or ${values.at(-1)}`;
  return z.coerce.number({ error }).pipe(z.literal<T>(values, { error }));
}

/** Texts, from a flag that may be given more than once, each with commas between some. */
const list = z
  .array(z.string())
  .default([])
  .transform((values) => values.flatMap((value) => value.split(",")).map((value) => value.trim()))
  .transform((values) => values.filter((value) => value !== ""));

function isOrigin(text: string): boolean {
  if (text === "*" || text === "null") return true;
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol) && new URL(text).origin === text;
}

/** What loading a model depends on, for every command that runs one. */
const modelOptionsSchema = z.object({
  model: z.string().min(1, { error: "must not be empty" }).default("tiny-llama"),
  /** How the weights of a checkpoint of floats are kept; default: as they are. */
  quantize: z.enum(quantisations, { error: `must be ${quantisations.join(" or ")}` }).optional(),
  /** Intra-op threads; default: what the container allows. */
  threads: integer(1, 1024).optional(),
  /** Default: a part of the free memory, no more than the requests can use. */
  kvCacheMb: integer(1, 2 ** 24).optional(),
  /** Longest sequence; default: the model's own limit, cut to what the cache holds. */
  maxContext: integer(2, 2 ** 31 - 1).optional(),
  /** Sequences that run at the same time. */
  maxRunning: integer(1, 4096).default(32),
  /** Requests that wait at the same time. */
  maxWaiting: integer(1, 2 ** 31 - 1).default(1024),
  /** Seconds that a request may wait, and that it may take in all; 0: no limit. */
  queueTimeout: integer(0, 86400).default(0),
  requestTimeout: integer(0, 86400).default(0),
  /** Seconds after which a step that runs is reported, and the server not healthy; 0: never. */
  stuckStepSeconds: integer(0, 86400).default(60),
  /** Tokens of a step. */
  maxNumBatchedTokens: integer(1, 65536).default(defaultSchedulerSettings.maxRows),
  /** How many times as long rows of prompts may make a step while sequences decode; 0: no limit. */
  prefillSlowdown: slowdown().default(defaultSchedulerSettings.prefill.slowdown),
  /** How keys and values are kept. */
  kvDtype: z.enum(cacheDtypes, { error: `must be one of ${cacheDtypes.join(", ")}` }).default(defaultCache.dtype),
  /** How the keys that SparQ scans are kept. */
  scanDtype: z.enum(scanDtypes, { error: `must be one of ${scanDtypes.join(", ")}` }).default(defaultCache.scanDtype),
  /** Of requests that do not say; or "onnx": the graph's own, run by ONNX Runtime as it is. */
  attention: z.enum(["sparq", "dense", "onnx"], { error: "must be sparq, dense or onnx" }).optional(),
  /** What SparQ's settings are where nothing else says so. */
  preset: z.enum(attentionPresets, { error: `must be ${attentionPresets.join(" or ")}` }).default(attentionPresets[0]),
  r: integer(1, 65536).optional(),
  k: integer(1, 2 ** 31 - 1).optional(),
  local: integer(0, 2 ** 31 - 1).optional(),
  /** Share of the visible positions that is kept where it is more than k. */
  kShare: share().optional(),
  /** Dense attention while fewer positions are visible. */
  minContext: integer(0, 2 ** 31 - 1).optional(),
  /** Check the cache's bookkeeping after every step, and fail loudly. */
  checked: z.boolean().default(false),
  /** How the model writes tool calls; default: what its chat template shows. */
  toolCallParser: z.enum(toolFormatNames, { error: `must be one of ${toolFormatNames.join(", ")}` }).optional(),
  /** Kept of each bucket in SparQ's top-k; 0: it is exact. */
  topKBuckets: oneOf(0, 1, 2, 4).optional(),
  /** What a request does not say of sampling: as the model's makers do, or as the API's own defaults. */
  samplingDefaults: z.enum(["model", "api"], { error: "must be model or api" }).default("model"),
  /** Run drafts of next tokens where they are worth it; the tokens are the same. */
  speculation: z.enum(["auto", "off"], { error: "must be auto or off" }).default("auto"),
  /** Of a draft, at most. */
  draftTokens: integer(1, 64).default(defaultSpeculation.maxDraft),
});

/** From 0 to 1. */
function share() {
  const error = "must be a number from 0 to 1";
  return z.coerce.number({ error }).min(0, { error }).max(1, { error });
}

/** 0 for none, or a factor. */
function slowdown() {
  const error = "must be a number from 1 to 1000, or 0 for no limit";
  const factor = z.coerce.number({ error }).max(1000, { error });
  return factor.refine((value) => value === 0 || value >= 1, { error });
}

const logLevels = ["trace", "debug", "info", "warn", "error", "silent"] as const;

const serverOptionsSchema = modelOptionsSchema.extend({
  host: z.string().min(1, { error: "must not be empty" }).default("127.0.0.1"),
  port: integer(0, 65535).default(8000),
  logLevel: z.enum(logLevels, { error: `must be one of ${logLevels.join(", ")}` }).default("info"),
  maxBodyMb: integer(1, 1024).default(16),
  pingSeconds: integer(1, 3600).default(10),
  /** How long running requests may go on after a signal to stop. */
  graceSeconds: integer(0, 3600).default(30),
  apiKey: list.refine((keys) => keys.every((key) => /^[\x21-\x7e]+$/.test(key)), {
    error: "must be visible ASCII characters without spaces or commas",
  }),
  apiKeyFile: z.string().min(1, { error: "must not be empty" }).optional(),
  /** Each key has cached prompts of its own. */
  cacheSaltPerKey: z.boolean().default(false),
  corsOrigin: list.refine((origins) => origins.every(isOrigin), {
    error: "must be *, null, or origins such as http://localhost:3000, without a path",
  }),
  metrics: z.enum(["open", "key", "off"], { error: "must be open, key or off" }).default("open"),
  logPrompts: z.boolean().default(false),
});

const generateOptionsSchema = modelOptionsSchema.extend({
  prompt: z.string(),
  maxTokens: integer(0, 2 ** 31 - 1).default(128),
  temperature: z.coerce
    .number({ error: "must be a number of at least 0" })
    .min(0, { error: "must be a number of at least 0" })
    .default(0),
  seed: integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER).optional(),
  dense: z.boolean().default(false),
  chat: z.boolean().default(false),
  json: z.boolean().default(false),
});

export type ModelOptions = z.output<typeof modelOptionsSchema>;
export type GenerateOptions = z.output<typeof generateOptionsSchema>;
export type ServerOptions = z.output<typeof serverOptionsSchema>;

/** An option with a value that cannot be; `option` is its name in camel case. */
export class OptionError extends Error {
  override readonly name = "OptionError";
  readonly option: string;
  readonly given: unknown;

  constructor(option: string, given: unknown, message: string) {
    super(message);
    this.option = option;
    this.given = given;
  }
}

/** Checks options as they come from flags and variables, and fills in defaults. Throws OptionError for the first fault. */
export function parseServerOptions(given: Readonly<Record<string, unknown>>): ServerOptions {
  return parse(serverOptionsSchema, given);
}

/** As parseServerOptions, for one generation. */
export function parseGenerateOptions(given: Readonly<Record<string, unknown>>): GenerateOptions {
  return parse(generateOptionsSchema, given);
}

/** Options that say how our own attention, cache and graphs are: a model that runs as it is has none of them. */
const ownOptions = [
  "quantize",
  "kvDtype",
  "scanDtype",
  "preset",
  "r",
  "k",
  "kShare",
  "local",
  "minContext",
  "topKBuckets",
  "draftTokens",
] as const;

/** Throws OptionError for what was said and cannot be with --attention=onnx; what is only a default says nothing. */
function checkAsIs(given: Readonly<Record<string, unknown>>): void {
  const message = "cannot be set with --attention=onnx, which runs the model as it is";
  for (const option of ownOptions) {
    if (given[option] !== undefined) throw new OptionError(option, undefined, message);
  }
  if (given.speculation === "auto") throw new OptionError("speculation", undefined, message);
}

function parse<T extends z.ZodType>(schema: T, given: Readonly<Record<string, unknown>>): z.output<T> {
  const result = schema.safeParse(given);
  if (result.success) {
    if (given.attention === "onnx") checkAsIs(given);
    return result.data;
  }
  const issue = result.error.issues[0] as z.core.$ZodIssue;
  const option = String(issue.path[0]);
  throw new OptionError(option, given[option], issue.message);
}
