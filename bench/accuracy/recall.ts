/** Key-value recall: facts scattered over a text, one of them asked for at the end. See models/builtin/training/README.md. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../attention/root.ts";
import type { AttentionSettings, Traffic } from "../../attention/types.ts";
import type { Serving } from "../../server/serving.ts";

export interface RecallItem {
  /** The passage of the filler, in characters. */
  readonly start: number;
  readonly length: number;
  /** Which of the facts is asked for. */
  readonly ask: number;
  /** Where in the passage each fact's line goes, its key and its value. */
  readonly facts: readonly (readonly [place: number, key: string, value: string])[];
}

export interface RecallSet {
  /** Prompt length that the items were made for. */
  readonly tokens: number;
  readonly filler: string;
  readonly items: readonly RecallItem[];
}

/** The items that come with the built-in models: 2048 tokens, 16 facts. */
export function readRecallSet(path = join(packageRoot(), "models", "builtin", "recall.json")): RecallSet {
  return JSON.parse(readFileSync(path, "utf8")) as RecallSet;
}

export function promptOf(filler: string, { start, length, ask, facts }: RecallItem): string {
  const text = filler.slice(start, start + length);
  let prompt = "";
  let last = 0;
  for (const [place, key, value] of facts) {
    prompt += `${text.slice(last, place)}The secret of ${key} is ${value}.\n`;
    last = place;
  }
  prompt += text.slice(last);
  return `${prompt}${prompt.endsWith("\n") ? "" : "\n"}The secret of ${facts[ask]![1]}`;
}

export function answerOf({ ask, facts }: RecallItem): string {
  return ` is ${facts[ask]![2]}`;
}

/** A way to attend, for a prompt of a given length in tokens. */
export interface RecallMode {
  readonly name: string;
  readonly settings: (tokens: number) => AttentionSettings;
}

/** What settings start from: a model's defaults. */
type Defaults = Pick<Serving, "attention" | "headDim">;

/** Whatever a server would do at this length. */
const asSaid = { kShare: 0, minContext: 0 };

export function dense({ attention }: Defaults): RecallMode {
  return { name: "dense", settings: () => ({ ...attention, mode: "dense" }) };
}

/** SparQ at a share `c` of dense attention's traffic, half for the scores, half for the kept positions: r = c d, k = c S / 2. */
export function sparqAt(c: number, { attention, headDim }: Defaults): RecallMode {
  return {
    name: `sparq 1/${1 / c}`,
    settings: (tokens) => {
      const k = Math.round((tokens * c) / 2);
      return { ...attention, mode: "sparq", r: Math.round(headDim * c), k, local: k >> 2, ...asSaid };
    },
  };
}

/**
 * Attention to nothing but the most recent share `c` of the positions: SparQ whose k positions are all local ones and
 * that leaves the rest out. No sinks. The engine computes scores that it does not use, so its traffic says nothing here.
 */
export function windowOf(c: number, { attention }: Defaults): RecallMode {
  return {
    name: `window 1/${1 / c}`,
    settings: (tokens) => {
      const k = Math.round(tokens * c);
      return { ...attention, mode: "sparq", r: 1, k, local: k, meanValue: false, ...asSaid };
    },
  };
}

export interface RecallResult {
  readonly mode: string;
  readonly n: number;
  /** Share of items whose answer came out whole, greedily. */
  readonly accuracy: number;
  readonly standardError: number;
  /** Bytes that sparse rows read, over what they would have read densely; null if there were none. */
  readonly trafficRatio: number | null;
}

/** What one mode has come to over the items so far. */
class Tally {
  right = 0;
  n = 0;
  private read = 0;
  private dense = 0;

  add(right: boolean, before: Traffic, after: Traffic): void {
    this.n += 1;
    this.right += Number(right);
    // Rows that attended densely, the prompt's among them, count the same on both sides.
    const bytes = ({ scoreBytes, gatherBytes }: Traffic) => scoreBytes + gatherBytes;
    const equivalent = ({ denseEquivalentBytes, denseBytes }: Traffic) => denseEquivalentBytes - denseBytes;
    this.read += bytes(after) - bytes(before);
    this.dense += equivalent(after) - equivalent(before);
  }

  result(mode: string): RecallResult {
    const accuracy = this.right / this.n;
    const standardError = Math.sqrt((accuracy * (1 - accuracy)) / this.n);
    return { mode, n: this.n, accuracy, standardError, trafficRatio: this.dense > 0 ? this.read / this.dense : null };
  }
}

/**
 * Asks every item in every mode. Modes take turns on an item, so that its prompt is in the cache after the first; the
 * prompt always attends densely, the mode decides how the answer's second token, the value, is found.
 */
export async function measureRecall(
  { engine, tokenizer }: Pick<Serving, "engine" | "tokenizer">,
  { filler, items }: Pick<RecallSet, "filler" | "items">,
  modes: readonly RecallMode[],
  onItem: (done: number) => void = () => {},
): Promise<RecallResult[]> {
  const tallies = modes.map(() => new Tally());
  for (const [index, item] of items.entries()) {
    const promptIds = tokenizer.encode(promptOf(filler, item));
    const answer = answerOf(item);
    const maxTokens = tokenizer.encode(answer).length;
    for (const [m, mode] of modes.entries()) {
      const before = engine.stats().traffic;
      let text = "";
      const request = {
        id: `recall-${index}-${m}`,
        promptIds,
        sampling: { maxTokens, temperature: 0, topP: 1, topK: 0, stop: [], ignoreEos: true },
        attention: mode.settings(promptIds.length + 1),
      };
      for await (const event of engine.generate(request)) text += event.text;
      tallies[m]!.add(text === answer, before, engine.stats().traffic);
    }
    onItem(index + 1);
  }
  return tallies.map((tally, m) => tally.result(modes[m]!.name));
}
