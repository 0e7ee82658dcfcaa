import { randomUUID } from "node:crypto";
import type { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { AttentionOverrideError, overrideAttention } from "./attention-settings.ts";
import type { GenerateRequest, PromptLogprobs, SamplingParams, TokenGrammar } from "./engine/types.ts";
import { ApiError, apiErrors, toApiError } from "./errors.ts";
import { queueingOf } from "./queueing.ts";
import type { generationFields } from "./schemas/common.ts";
import type { Serving } from "./serving.ts";

/** How much of a body over the limit is read before the connection is given up. */
const DISCARDED_BYTES = 64 * 2 ** 20;

/** Sequences, n for each prompt, that one request may ask for. */
const MAX_SEQUENCES = 2048;

/** The fields that completions and chat completions share, checked. */
export type GenerationFields = {
  readonly [K in keyof typeof generationFields]?: z.output<(typeof generationFields)[K]>;
};

/**
 * The body of a request as `schema` has it, whatever its content type says. Throws ApiError: for more than `limitBytes`,
 * no JSON, or a field that is wrong.
 */
export async function readBody<T extends z.ZodType>(
  context: Context,
  schema: T,
  limitBytes: number,
): Promise<z.output<T>> {
  const checked = schema.safeParse(parseJson(await bodyText(context, limitBytes)));
  if (!checked.success) throw validationError(checked.error);
  return checked.data;
}

/**
 * A body that is too large is read to its end all the same, up to a bound, and thrown away: a connection that is closed
 * or answered in the middle of a body often loses the answer, and its next request.
 */
async function bodyText(context: Context, limitBytes: number): Promise<string> {
  try {
    return await readText(context, limitBytes);
  } catch (error) {
    // Whatever else stops a body halfway, it is at the other end.
    throw error instanceof ApiError ? error : apiErrors.clientClosed();
  }
}

async function readText(context: Context, limitBytes: number): Promise<string> {
  const length = Number(context.req.header("content-length") ?? Number.NaN);
  if (length <= limitBytes) return context.req.text();
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of context.req.raw.body ?? []) {
    total += chunk.byteLength;
    if (total <= limitBytes) chunks.push(chunk);
    else if (total > limitBytes + DISCARDED_BYTES) break;
  }
  if (total > limitBytes) throw apiErrors.bodyTooLarge(limitBytes);
  return new TextDecoder().decode(Buffer.concat(chunks));
}

function parseJson(text: string): unknown {
  if (text.trim() === "") throw apiErrors.invalidJson("it is empty");
  try {
    return JSON.parse(text);
  } catch (error) {
    throw apiErrors.invalidJson((error as Error).message);
  }
}

/** The first fault, under the path of its field. */
function validationError(error: z.ZodError): ApiError {
  const issue = error.issues[0] as z.core.$ZodIssue;
  const param = issue.path.reduce<string>(
    (path, key) => (typeof key === "number" ? `${path}[${key}]` : path === "" ? String(key) : `${path}.${String(key)}`),
    "",
  );
  const message = param === "" ? `the body: ${issue.message}` : `${param}: ${issue.message}`;
  const unsupported = issue.code === "custom" && issue.params?.unsupported === true;
  return new ApiError(unsupported ? "unsupported_parameter" : "invalid_value", message, { param: param || null });
}

/** Throws ApiError if the request is for another model than the one served. */
export function checkModel(serving: Serving, asked: string | null | undefined): void {
  const names = [serving.name, serving.root];
  if (asked !== null && asked !== undefined && !names.includes(asked)) {
    throw apiErrors.modelNotFound(asked, serving.name);
  }
}

/** The ids that an encoder makes of a request's prompt. Throws ApiError, under the field that the prompt came from. */
export async function encodePrompt<T>(encoding: Promise<T>, param: string, signal: AbortSignal): Promise<T> {
  try {
    return await encoding;
  } catch (error) {
    throw signal.aborted ? apiErrors.clientClosed() : toApiError(error, param);
  }
}

export interface SequenceOptions {
  /** Sequences for each prompt; default the request's n. */
  readonly choices?: number;
  /** Log-probabilities wanted of each token, and of this many of the likeliest; default none. */
  readonly logprobs?: number;
  /** Those wanted of a prompt's own tokens, by its index; default none. */
  readonly prompt?: (index: number) => PromptLogprobs;
  /** What the texts must be; default anything. */
  readonly grammar?: TokenGrammar | undefined;
  /** As in GenerateRequest. */
  readonly visibleTokens?: readonly number[];
}

/**
 * The sequences that answer a request, the choices of one prompt together. A seed counts up over a prompt's choices, so
 * that they differ. Throws ApiError for too many of them or settings that do not fit the model.
 */
export function generateRequests(
  serving: Serving,
  id: string,
  prompts: readonly (readonly number[])[],
  fields: GenerationFields,
  maxTokens: (promptTokens: number) => number,
  options: SequenceOptions = {},
): GenerateRequest[] {
  const attention = attentionOf(serving, fields);
  const { logprobs, prompt, grammar, choices = fields.n ?? 1 } = options;
  const { visibleTokens } = options;
  const shown = visibleTokens === undefined ? {} : { visibleTokens };
  const constrained = { ...(grammar === undefined ? {} : { grammar }), ...shown };
  const sequences = choices * prompts.length;
  if (sequences > MAX_SEQUENCES) {
    throw apiErrors.invalidValue("n", `the request asks for ${sequences} sequences; ${MAX_SEQUENCES} is the most`);
  }
  const queueing = queueingOf(fields);
  // Made once: prompts and choices share what may be large.
  const common = { ...samplingOf(fields, serving), ...(logprobs === undefined ? {} : { logprobs }) };
  return prompts.flatMap((promptIds, promptIndex) => {
    const promptLogprobs = prompt?.(promptIndex);
    const most = maxTokens(promptIds.length);
    const sampling = { ...common, maxTokens: most, minTokens: minTokensOf(fields, most) };
    return Array.from({ length: choices }, (_, i) => {
      const seeded = sampling.seed === undefined ? sampling : { ...sampling, seed: sampling.seed + i };
      const request = {
        id: `${id}-${promptIndex * choices + i}`,
        batch: id,
        promptIds,
        sampling: seeded,
        attention,
        ...queueing,
        ...constrained,
      };
      return promptLogprobs === undefined ? request : { ...request, promptLogprobs };
    });
  });
}

function samplingOf(fields: GenerationFields, serving: Serving): Omit<SamplingParams, "maxTokens"> {
  const stop = typeof fields.stop === "string" ? [fields.stop] : (fields.stop ?? []);
  const { sampling = {} } = serving;
  const topP = fields.top_p ?? sampling.topP ?? 1;
  const { seed } = fields;
  return {
    temperature: fields.temperature ?? sampling.temperature ?? 1,
    // The smallest nucleus holds one token, and so does that of mass 0.
    topP: topP === 0 ? Number.EPSILON : topP,
    topK: Math.max(0, fields.top_k ?? sampling.topK ?? 0),
    minP: fields.min_p ?? sampling.minP ?? 0,
    repetitionPenalty: fields.repetition_penalty ?? sampling.repetitionPenalty ?? 1,
    presencePenalty: fields.presence_penalty ?? 0,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    logitBias: logitBiasOf(fields, serving),
    ...(seed === null || seed === undefined ? {} : { seed }),
    stop: stop.filter((text) => text !== ""),
    stopTokenIds: stopTokenIdsOf(fields, serving),
    ignoreEos: fields.ignore_eos ?? false,
  };
}

function minTokensOf({ min_tokens }: GenerationFields, maxTokens: number): number {
  const minTokens = min_tokens ?? 0;
  if (minTokens <= maxTokens) return minTokens;
  const message = `min_tokens: ${minTokens} is more than the ${maxTokens} tokens that there may be`;
  throw apiErrors.invalidValue("min_tokens", message);
}

function stopTokenIdsOf({ stop_token_ids }: GenerationFields, { tokenizer }: Serving): readonly number[] {
  const ids = stop_token_ids ?? [];
  const foreign = ids.findIndex((id) => id >= tokenizer.vocabSize);
  if (foreign < 0) return ids;
  const message = `stop_token_ids[${foreign}]: ${ids[foreign]} is outside the vocabulary of ${tokenizer.vocabSize}`;
  throw apiErrors.invalidValue(`stop_token_ids[${foreign}]`, message);
}

function logitBiasOf({ logit_bias }: GenerationFields, { tokenizer }: Serving): ReadonlyMap<number, number> {
  const bias = Object.entries(logit_bias ?? {});
  const foreign = bias.find(([token]) => !/^\d+$/.test(token) || Number(token) >= tokenizer.vocabSize);
  if (foreign !== undefined) {
    const message = `logit_bias: ${foreign[0]} is no token id of the vocabulary of ${tokenizer.vocabSize}`;
    throw apiErrors.invalidValue("logit_bias", message);
  }
  return new Map(bias.map(([token, value]) => [Number(token), value]));
}

function attentionOf(serving: Serving, fields: GenerationFields) {
  if (serving.backend === "onnx") return asIs(serving, fields);
  try {
    return overrideAttention(serving.attention, fields.sparq, serving.headDim);
  } catch (error) {
    if (!(error instanceof AttentionOverrideError)) throw error;
    throw apiErrors.invalidValue(`sparq.${error.field}`, `sparq.${error.field}: ${error.message}`);
  }
}

/** Attention as the model's graph has it. Throws ApiError for a request that wants another: it would be told a wrong thing of it. */
function asIs({ attention }: Serving, { sparq }: GenerationFields) {
  const asked = Object.entries(sparq ?? {}).find(([, value]) => value !== null && value !== undefined);
  if (asked === undefined || sparq?.mode === "dense") return attention;
  const field = sparq?.mode === "sparq" ? "mode" : asked[0];
  const message = `sparq.${field}: this server runs its model as it is, dense (--attention=onnx)`;
  throw apiErrors.invalidValue(`sparq.${field}`, message);
}

export function newId(prefix: "cmpl" | "chatcmpl"): string {
  return `${prefix}-${randomUUID().replaceAll("-", "")}`;
}

export interface TokenCounts {
  readonly prompt: number;
  /** Of these, found in the prefix cache. */
  readonly cached: number;
  readonly completion: number;
}

export function usageOf({ prompt, cached, completion }: TokenCounts) {
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
  };
}
