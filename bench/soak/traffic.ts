import { readRecallSet } from "../accuracy/recall.ts";
import type { Random } from "./random.ts";

/** Something to ask. The same body has the same answer whenever it is asked, streamed or not. */
export interface SoakRequest {
  readonly path: "/v1/completions" | "/v1/chat/completions";
  readonly body: Readonly<Record<string, unknown>>;
  /** A word that only this request's prompt has. */
  readonly marker: string;
  /** The status that it must be refused with; null: it must be answered. */
  readonly refusal: number | null;
}

/** Markers look like nothing else, so that one in a foreign answer is seen. */
export const MARKER = /\bzq[0-9a-z]{7}\b/g;

/** Some requests come again and again, others once; many begin alike. */
export class Traffic {
  private readonly filler: string;
  private readonly prefixes: readonly string[];
  private readonly recurring: readonly SoakRequest[];
  private readonly contextLength: number;
  private made = 0;

  /** `contextLength`: of the server, in tokens. A token here is 2 to 3 characters. */
  constructor(random: Random, contextLength: number, recurring: number) {
    this.filler = readRecallSet().filler;
    this.contextLength = contextLength;
    this.prefixes = Array.from({ length: 6 }, () => this.passage(random, random.integer(200, contextLength)));
    this.recurring = Array.from({ length: recurring }, () => this.make(random));
  }

  /** The next request of a client. Mutates. */
  next(random: Random): SoakRequest {
    return random.chance(0.8) ? random.pick(this.recurring) : this.make(random);
  }

  isRecurring(request: SoakRequest): boolean {
    return this.recurring.includes(request);
  }

  private make(random: Random): SoakRequest {
    const marker = `zq${(this.made++).toString(36).padStart(7, "0")}`;
    if (random.chance(0.04)) return this.wrong(random, marker);
    const own = `The secret of ${marker} is ${random.pick(["gold", "water", "night", "blood"])}.\n`;
    const prompt =
      (random.chance(0.6) ? random.pick(this.prefixes) : "") +
      own +
      this.passage(random, random.integer(10, this.contextLength)) +
      (random.chance(0.3) ? `\nThe secret of ${marker}` : "");
    const settings = { ...this.sampling(random), ...this.stopping(random), ...this.attention(random) };
    const n = random.chance(0.15) ? { n: random.integer(2, 4) } : {};
    if (random.chance(0.6)) {
      const logprobs = random.chance(0.2) ? { logprobs: random.integer(0, 5) } : {};
      const body = { prompt, ...settings, ...n, ...logprobs };
      return { path: "/v1/completions", body, marker, refusal: null };
    }
    const messages = [
      ...(random.chance(0.5) ? [{ role: "system", content: random.pick(this.prefixes) }] : []),
      { role: "user", content: prompt.slice(-2 * this.contextLength) },
    ];
    const logprobs = random.chance(0.2) ? { logprobs: true, top_logprobs: random.integer(0, 5) } : {};
    return { path: "/v1/chat/completions", body: { messages, ...settings, ...n, ...logprobs }, marker, refusal: null };
  }

  /** What must be refused, and disturb nobody. */
  private wrong(random: Random, marker: string): SoakRequest {
    const body = random.pick([
      { prompt: marker, temperature: -1 },
      { prompt: [1, 2, 99_999_999] },
      { prompt: `${marker} ${this.filler.repeat(4)}` },
      { prompt: marker, logit_bias: { [marker]: 1 } },
      { prompt: marker, sparq: { r: 100_000 } },
    ]);
    return { path: "/v1/completions", body, marker, refusal: 400 };
  }

  private sampling(random: Random): object {
    if (random.chance(0.5)) return { temperature: 0 };
    return {
      temperature: 0.2 + random.next(),
      seed: random.integer(0, 1000),
      ...(random.chance(0.3) ? { top_p: 0.9 } : {}),
      ...(random.chance(0.3) ? { top_k: random.integer(1, 50) } : {}),
      ...(random.chance(0.2) ? { min_p: 0.05 } : {}),
      ...(random.chance(0.2) ? { presence_penalty: 0.5, frequency_penalty: 0.5 } : {}),
      ...(random.chance(0.2) ? { repetition_penalty: 1.2 } : {}),
      ...(random.chance(0.2) ? { logit_bias: { "5": -100, "17": 2 } } : {}),
    };
  }

  private stopping(random: Random): object {
    const length = random.pick([1, 20, 100, 300]);
    return {
      max_tokens: random.integer(1, length),
      ...(random.chance(0.7) ? { ignore_eos: true } : {}),
      ...(random.chance(0.3) ? { stop: random.pick([["\n\n"], ["the", "qqq"], "e s", [". "]]) } : {}),
    };
  }

  private attention(random: Random): object {
    const r = random.integer(4, 16);
    return random.pick([
      {},
      { sparq: { mode: "dense" } },
      { sparq: { mode: "sparq", r, k: random.integer(16, 128) } },
      { sparq: { mode: "sparq", r, k: 64, top_k_buckets: 2, group_sum: "logits" } },
      { sparq: { min_context: 256 } },
    ]);
  }

  private passage(random: Random, characters: number): string {
    const start = random.integer(0, this.filler.length - characters);
    return this.filler.slice(start, start + characters);
  }
}
