import { Random } from "../soak/random.ts";
import { type BodyOptions, baseOf, bodyOf, endpointUrl, type Features } from "./body.ts";
import { ask } from "./client/ask.ts";
import type { Endpoint } from "./command.ts";
import { assumedScale, type WordScale, words } from "./prompts.ts";
import type { Timeline } from "./timeline.ts";

export interface TargetOptions {
  readonly url: string;
  readonly endpoint: Endpoint;
  /** Default: the first that the server names. */
  readonly model: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly extraBody: Readonly<Record<string, unknown>>;
  readonly ignoreEos: boolean;
  readonly inputTokens: number;
  readonly timeoutMs: number;
  readonly seed: number;
}

/** A server, and what it was found to take. */
export interface Target {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: BodyOptions;
  readonly scale: WordScale;
  /** Whether answers bring their usage. */
  readonly usage: boolean;
  /** What cannot be known of its answers. */
  readonly notes: readonly string[];
}

/** Words of the two prompts by which a server's tokens are counted; the second are so many, or as many as prompts are to have. */
const FEW = 8;
const MANY = 256;
const REFUSED = ["HTTP 400", "HTTP 422"];

/** Asks for a token to see what a server takes and how it counts. Throws Error for one that does not answer. */
export async function findTarget(options: TargetOptions): Promise<Target> {
  const { endpoint, headers, extraBody } = options;
  const base = baseOf(options.url);
  const url = endpointUrl(base, endpoint);
  const model = options.model ?? (await firstModel(base, headers));
  const random = new Random(options.seed);
  const probe = (features: Features, length: number) => {
    const prompt = { text: words(length, random), outputTokens: 1 };
    const body = bodyOf(prompt, { endpoint, model, features, extraBody });
    return ask({ url, headers, body, timeoutMs: options.timeoutMs }, () => performance.now());
  };
  const { features, few } = await negotiate(url, options, (one) => probe(one, FEW));
  const length = Math.max(2 * FEW, Math.min(MANY, options.inputTokens));
  const many = few.promptTokens === null ? few : await probe(features, length);
  const perWord = (Number(many.promptTokens) - Number(few.promptTokens)) / (length - FEW);
  const counts = perWord > 0;
  const usage = few.completionTokens !== null;
  return {
    url,
    headers,
    body: { endpoint, model, features, extraBody },
    usage,
    scale: counts ? { overhead: Number(few.promptTokens) - FEW * perWord, perWord } : assumedScale,
    notes: notesOf(options, features, usage, counts),
  };
}

/** Leaves out one field after another until the server takes the rest. */
async function negotiate(
  url: string,
  { endpoint, ignoreEos }: TargetOptions,
  probe: (features: Features) => Promise<Omit<Timeline, "due">>,
): Promise<{ features: Features; few: Omit<Timeline, "due"> }> {
  const limits: readonly Features["limit"][] =
    endpoint === "chat" ? ["max_tokens", "max_completion_tokens"] : ["max_tokens"];
  let first: string | undefined;
  for (const limit of limits) {
    for (const usage of [true, false]) {
      for (const eos of ignoreEos ? [true, false] : [false]) {
        const features = { usage, ignoreEos: eos, limit };
        const few = await probe(features);
        if (few.fault === null) return { features, few };
        first ??= `${few.fault.kind}: ${few.fault.detail}`;
        if (!REFUSED.includes(few.fault.kind))
          throw new Error(`${url} gives no answer: ${few.fault.kind}: ${few.fault.detail}`);
      }
    }
  }
  throw new Error(`${url} takes no request: ${first}`);
}

function notesOf(options: TargetOptions, features: Features, usage: boolean, counts: boolean): string[] {
  const notes: string[] = [];
  if (options.ignoreEos && !features.ignoreEos) {
    notes.push("the server does not take ignore_eos: answers end where the model ends them, some sooner than others");
  }
  if (!usage) {
    const why = features.usage ? "sends no usage" : "does not take stream_options";
    notes.push(`the server ${why}: tokens of answers are the pieces of text that came, those of prompts are unknown`);
  }
  if (!counts)
    notes.push("how the server's tokenizer counts is unknown: prompts have as many words as tokens were asked for");
  return notes;
}

async function firstModel(base: string, headers: Readonly<Record<string, string>>): Promise<string> {
  const url = `${base}/v1/models`;
  const why = await fetch(url, { headers }).then(
    async (response) => {
      const text = await response.text();
      if (!response.ok) return { error: `${response.status}: ${text.slice(0, 300)}` };
      return { model: modelIn(text), error: `no data[0].id in ${text.slice(0, 300)}` };
    },
    (error: Error) => ({ error: error.cause instanceof Error ? error.cause.message : error.message }),
  );
  if ("model" in why && why.model !== undefined) return why.model;
  throw new Error(`${url} names no model (${why.error}); give one with --model if the server has that endpoint not`);
}

function modelIn(text: string): string | undefined {
  try {
    const id = (JSON.parse(text) as { data?: { id?: unknown }[] } | null)?.data?.[0]?.id;
    return typeof id === "string" ? id : undefined;
  } catch {
    return undefined;
  }
}
