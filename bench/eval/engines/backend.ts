import type { Traffic } from "../../../attention/types.ts";
import type { Machine } from "../../machine.ts";
import type { Item, ScoringItem } from "../types.ts";
import type { Variant } from "../variants.ts";
import type { Agreement } from "./agreement.ts";

/** What items are run on: a model in this process, or a server. */
export interface Backend {
  readonly model: string;
  /** Null if it is not this one. */
  readonly machine: Machine | null;
  /** Tokens of a text, as near as can be known here. */
  readonly count: (text: string) => number;
  /** Tokens of a prompt, context and question; null if they are not known here. */
  promptTokens(item: Item): number | null;
  /**
   * Runs all items, of one kind, in all variants; `onItem` is called now and then, once for each item. Throws VariantError
   * for a variant that cannot run here.
   */
  measure(items: readonly Item[], variants: readonly Variant[], onItem: () => void): Promise<Measurement[]>;
  /** Compares variants with dense attention. Undefined where predictions cannot be seen. */
  agree?(items: readonly ScoringItem[], variants: readonly Variant[], onItem: () => void): Promise<Agreement[]>;
  close(): Promise<void>;
}

/** Of one variant. */
export interface Measurement {
  /** Of each item. */
  readonly values: readonly number[];
  /** Of rows after the contexts; null if it cannot be told. */
  readonly traffic: Traffic | null;
  /** Dense rows of the contexts are in `traffic` too. */
  readonly withContexts?: boolean;
}
