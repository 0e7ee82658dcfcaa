import type { Traffic } from "../../attention/types.ts";
import type { Machine } from "../machine.ts";
import type { LoadOptions } from "../options.ts";
import type { Random } from "../soak/random.ts";

/** One prompt of a task. `context` is read densely; what follows is read as the variant attends, as the paper does it. */
interface Prompt {
  /** Unique within its set. */
  readonly id: string;
  readonly context: string;
}

/** A text is generated greedily after context and question, and scored. */
export interface GenerationItem extends Prompt {
  readonly kind: "generate";
  readonly question: string;
  readonly maxTokens: number;
  /** Strings that end the text. */
  readonly stop: readonly string[];
  /** Whether the score is certain however the text goes on. */
  readonly settled?: (text: string) => boolean;
  readonly score: (text: string) => number;
  /** Where in the context the wanted fact is, 0..1, for a map by depth. */
  readonly depth?: number;
}

/** A given continuation is scored by what it costs. */
export interface ScoringItem extends Prompt {
  readonly kind: "score";
  /** Between the two: read as the variant attends, and not scored. */
  readonly question?: string;
  readonly continuation: string;
  readonly score: (cost: TextCost) => number;
}

export type Item = GenerationItem | ScoringItem;

/** -log p of a text, of which `tokens` are counted. */
export interface TextCost {
  readonly nats: number;
  readonly tokens: number;
}

/** What a task makes its items of. Same values, same items. */
export interface ItemOptions {
  /** The data set's file; undefined: the sample that comes along. */
  readonly data: string | undefined;
  readonly n: number;
  /** About how long prompts are to be; undefined: as the task's source has it. */
  readonly tokens: number | undefined;
  /** Questions with answers before the one that is asked; undefined: as the task's source has it. */
  readonly shots?: number | undefined;
  /** Tokens of a text. */
  readonly count: (text: string) => number;
  readonly random: Random;
}

export interface Task<Kind extends Item = Item> {
  readonly name: string;
  /** What a value is: "match", "rougeL", ... */
  readonly metric: string;
  readonly better: "higher" | "lower";
  /** For --help and the report. */
  readonly description: string;
  /** At most n, fewer where the data has no more. Throws DataError. */
  items(options: ItemOptions): Kind[];
  /** The value of a set from those of its items, where that is not the mean: the perplexity of mean costs. */
  readonly transform?: (mean: number) => number;
}

/** How one variant did on the items of one set. */
export interface EvalResult {
  readonly task: string;
  readonly variant: string;
  /** Length that was asked for; null: the task's own. */
  readonly tokens: number | null;
  readonly metric: string;
  readonly better: "higher" | "lower";
  readonly value: number;
  /** Of the mean over items; null for one item. */
  readonly stderr: number | null;
  readonly n: number;
  /**
   * Bytes of the cache that attention read for rows after the context, over what dense attention reads for them from the same
   * cache; null where it cannot be measured.
   */
  readonly bytesRatio: number | null;
  /** The same of those rows alone that did not attend densely; null if there were none. */
  readonly sparseBytesRatio: number | null;
  /** Each item's value, in the order of the set. */
  readonly items: readonly number[];
  /** Of a model's layers, where they were observed. */
  readonly layers?: readonly LayerAgreement[];
}

/** Of sparse rows in one layer, on average. */
export interface LayerAgreement {
  readonly rows: number;
  /** Share of the kept positions that exact scores would keep too. */
  readonly recall: number;
  readonly massKept: number;
  readonly alpha: number;
}

/** Items that all variants got. */
export interface EvalSet {
  readonly task: string;
  readonly tokens: number | null;
  readonly n: number;
  /** Of a prompt, on average; null where prompts were not tokenised here. */
  readonly promptTokens: number | null;
  /** The data set's file by name, or "sample". */
  readonly data: string;
  /** Of all prompts: same items, same sum. */
  readonly sha256: string;
  /** Of each item, where it has one. */
  readonly depths?: readonly number[];
}

export interface EvalSettings extends LoadOptions {
  readonly n: number;
  readonly seed: number;
  readonly batch: number;
  /** What the question's rows attend as. */
  readonly question: "variant" | "dense";
  readonly prompts: "plain" | "chat";
  /** Where it was given: examples before a question. */
  readonly shots?: number;
}

export interface EvalReport {
  readonly version: 1;
  readonly command: string;
  readonly model: string;
  /** Null for a server elsewhere. */
  readonly machine: Machine | null;
  readonly settings: EvalSettings;
  readonly seconds: number;
  readonly sets: readonly EvalSet[];
  readonly results: readonly EvalResult[];
}

/** What a variant read for rows after the context. */
export type Measured = Traffic | null;
