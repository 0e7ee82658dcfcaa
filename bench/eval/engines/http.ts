import type { Traffic } from "../../../attention/types.ts";
import { Field } from "../data/fields.ts";
import type { GenerationItem, Item } from "../types.ts";
import { VariantError } from "../variant-fields.ts";
import type { Variant } from "../variants.ts";
import type { Backend, Measurement } from "./backend.ts";
import type { PromptStyle } from "./prompts.ts";

export interface HttpOptions {
  /** With or without /v1. */
  readonly url: string;
  /** Default: the first that the server names. */
  readonly model: string | undefined;
  readonly key: string | undefined;
  readonly batch: number;
  readonly prompts: PromptStyle;
  readonly signal: AbortSignal;
}

/** Roughly, of English: a server of another make does not say. */
const CHARACTERS_PER_TOKEN = 4;
/** What can be asked for of a server: another cache would be another server. */
const servedFamilies: readonly string[] = ["dense", "default", "sparq", "window", "exact", "random"];

/**
 * A server with OpenAI's endpoints. Ours takes a variant's settings in the field "sparq" and says what it has read; of others
 * only the default can be asked for. Questions are part of the prompt, so that they are read densely.
 */
export class HttpBackend implements Backend {
  readonly model: string;
  readonly machine = null;
  private readonly options: HttpOptions;
  /** Components of a key; null for a server of another make. */
  private readonly headSize: number | null;

  private constructor(options: HttpOptions, model: string, headSize: number | null) {
    this.options = options;
    this.model = model;
    this.headSize = headSize;
  }

  /** Throws Error for a server that cannot be reached. */
  static async open(options: HttpOptions): Promise<HttpBackend> {
    const base = options.url.replace(/\/+$/, "").replace(/\/v1$/, "");
    const own = { ...options, url: base };
    const models = await ask(own, "/v1/models");
    const model = options.model ?? models.get("data").list()[0]?.get("id").text();
    if (model === undefined) throw models.error("names no model: give one with --model");
    const stats = await fetch(`${base}/v1/sparq/stats`, request(own));
    if (!stats.ok) return new HttpBackend(own, model, null);
    const described = (await stats.json()) as { head_size?: number };
    return new HttpBackend(own, model, described.head_size ?? null);
  }

  count = (text: string): number => Math.ceil(text.length / CHARACTERS_PER_TOKEN);

  promptTokens(): null {
    return null;
  }

  /** Variants take turns on each batch of items, so that prompts are in the server's prefix cache after the first. */
  async measure(items: readonly Item[], variants: readonly Variant[], onItem: () => void): Promise<Measurement[]> {
    for (const variant of variants) this.check(variant);
    const asked = items.filter((item) => item.kind === "generate");
    if (asked.length < items.length)
      throw new Error("texts are scored by a model in this process only, not by a server");
    const values: number[][] = variants.map(() => []);
    const read = variants.map(() => zero);
    for (let start = 0; start < asked.length; start += this.options.batch) {
      const batch = asked.slice(start, start + this.options.batch);
      for (const [v, variant] of variants.entries()) {
        const before = await this.traffic();
        const texts = await Promise.all(batch.map((item) => this.generate(item, variant)));
        read[v] = sum(read[v]!, difference(await this.traffic(), before));
        values[v]!.push(...texts.map((text, i) => batch[i]!.score(text)));
      }
      for (const _ of batch) onItem();
    }
    // Dense rows of prompts are among those of answers: only sparse ones can be told.
    const known = this.headSize !== null;
    return values.map((own, v) => ({ values: own, traffic: known ? read[v]! : null, withContexts: true }));
  }

  async close(): Promise<void> {}

  private check({ name, family, layout }: Variant): void {
    if (this.headSize === null && family !== "default") {
      throw new VariantError(`variant ${name} needs a sparq server; of this one only "default" can be asked for`);
    }
    if (!servedFamilies.includes(family)) throw new VariantError(`variant ${name} cannot be asked for over HTTP`);
    if (/cache=|scan=/.test(name)) {
      throw new VariantError(
        `variant ${name}: a server has one cache, not ${layout.dtype} and ${layout.scanDtype} for a request`,
      );
    }
  }

  private async generate(item: GenerationItem, variant: Variant): Promise<string> {
    const { maxTokens, stop, context, question } = item;
    const text = context + question;
    const override =
      this.headSize === null ? null : variant.override(await this.tokensOf(text, variant), this.headSize);
    const common = {
      model: this.model,
      max_tokens: maxTokens,
      temperature: 0,
      ...(stop.length > 0 ? { stop } : {}),
      ...(override === null ? {} : { sparq: override }),
    };
    if (this.options.prompts === "chat") {
      const answer = await ask(this.options, "/v1/chat/completions", {
        ...common,
        messages: [{ role: "user", content: text }],
      });
      return String(answer.get("choices").list()[0]!.get("message").find("content")?.raw() ?? "");
    }
    const answer = await ask(this.options, "/v1/completions", { ...common, prompt: text });
    return String(answer.get("choices").list()[0]!.get("text").raw());
  }

  /** Asked for only where a ratio makes a difference. */
  private async tokensOf(text: string, { family }: Variant): Promise<number> {
    if (family === "dense" || family === "default") return this.count(text);
    const { count } = (await ask(this.options, "/tokenize", { prompt: text })).raw() as { count: number };
    return count;
  }

  private async traffic(): Promise<Traffic> {
    if (this.headSize === null) return zero;
    const { traffic } = (await ask(this.options, "/v1/sparq/stats")).raw() as { traffic: Record<string, number> };
    return {
      scoreBytes: traffic.score_bytes!,
      gatherBytes: traffic.gather_bytes!,
      denseBytes: traffic.dense_bytes!,
      denseEquivalentBytes: traffic.dense_equivalent_bytes!,
    };
  }
}

const zero: Traffic = { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 };

function sum(a: Traffic, b: Traffic, sign = 1): Traffic {
  return {
    scoreBytes: a.scoreBytes + sign * b.scoreBytes,
    gatherBytes: a.gatherBytes + sign * b.gatherBytes,
    denseBytes: a.denseBytes + sign * b.denseBytes,
    denseEquivalentBytes: a.denseEquivalentBytes + sign * b.denseEquivalentBytes,
  };
}

function difference(after: Traffic, before: Traffic): Traffic {
  return sum(after, before, -1);
}

function request({ key, signal }: HttpOptions, body?: unknown): RequestInit {
  const headers = {
    ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
    ...(body === undefined ? {} : { "content-type": "application/json" }),
  };
  return { signal, headers, ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }) };
}

/** Throws Error, with what the server said, for an answer that is no success. */
async function ask(options: HttpOptions, path: string, body?: unknown): Promise<Field> {
  const url = options.url + path;
  let response: Response;
  try {
    response = await fetch(url, request(options, body));
  } catch (error) {
    options.signal.throwIfAborted();
    throw new Error(`${url} cannot be reached: ${(error as Error & { cause?: Error }).cause?.message ?? error}`);
  }
  const text = await response.text();
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text.slice(0, 500)}`);
  return new Field(JSON.parse(text), url);
}
