import { defaultThreads } from "../../../attention/threads.ts";
import { loadModel } from "../../../models/load.ts";
import type { PreparedModel } from "../../../models/types.ts";
import type { Tokenizer } from "../../../server/engine/types.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";
import { describeMachine, type Machine } from "../../machine.ts";
import { type LoadOptions, loadOptionsOf } from "../../options.ts";
import type { GenerationItem, Item, ScoringItem } from "../types.ts";
import { sharingGroups, type Variant } from "../variants.ts";
import { type Agreement, compareWithDense } from "./agreement.ts";
import type { Backend, Measurement } from "./backend.ts";
import { type GeneratorOptions, generateTexts } from "./generator.ts";
import { generateOnnx, OnnxModel, scoreOnnx } from "./onnx.ts";
import { encodePrompt } from "./prompts.ts";
import { scoreTexts } from "./scorer.ts";

export type LocalOptions = Omit<GeneratorOptions, "model" | "tokenizer" | "onItem"> & LoadOptions;

/** A model in this process. */
export class LocalBackend implements Backend {
  readonly model: string;
  readonly machine: Machine;
  private readonly tokenizer: Tokenizer;
  private readonly prepared: PreparedModel;
  private readonly options: LocalOptions;

  private constructor(prepared: PreparedModel, options: LocalOptions) {
    this.model = prepared.name;
    this.prepared = prepared;
    this.options = options;
    this.machine = describeMachine(options.threads ?? defaultThreads());
    this.tokenizer = createTokenizer(prepared.tokenizer, prepared.config);
  }

  static async open(model: string, options: LocalOptions): Promise<LocalBackend> {
    return new LocalBackend(await loadModel(model, loadOptionsOf(options)), options);
  }

  count = (text: string): number => this.tokenizer.encode(text, { addSpecialTokens: false }).length;

  promptTokens(item: Item): number {
    return item.kind === "generate"
      ? encodePrompt(this.tokenizer, item.context, item.question, this.options.prompts).tokens.length
      : encodePrompt(this.tokenizer, item.context, (item.question ?? "") + item.continuation).tokens.length;
  }

  /** Variants that share their contexts run together; groups of them come one after the other. */
  async measure(items: readonly Item[], variants: readonly Variant[], onItem: () => void): Promise<Measurement[]> {
    const groups = sharingGroups(variants);
    const measurements = new Map<Variant, Measurement>();
    let calls = 0;
    // As many calls as there are items, whatever the number of groups.
    const onGroupItem = () => {
      calls += 1;
      if (calls % groups.length === 0) onItem();
    };
    for (const group of groups) {
      const measured = await this.measureGroup(items, group, onGroupItem);
      for (const [i, variant] of group.entries()) measurements.set(variant, measured[i]!);
    }
    return variants.map((variant) => measurements.get(variant)!);
  }

  agree(items: readonly ScoringItem[], variants: readonly Variant[], onItem: () => void): Promise<Agreement[]> {
    return compareWithDense(items, variants, this.optionsWith(onItem));
  }

  async close(): Promise<void> {}

  private async measureGroup(items: readonly Item[], variants: readonly Variant[], onItem: () => void) {
    const options = this.optionsWith(onItem);
    if (variants[0]!.family === "onnx") return [await measureOnnx(items, options)];
    if (items.every((item) => item.kind === "generate")) return generated(items, variants, options);
    return scored(
      items.filter((item) => item.kind === "score"),
      variants,
      options,
    );
  }

  private optionsWith(onItem: () => void): GeneratorOptions {
    return { ...this.options, model: this.prepared, tokenizer: this.tokenizer, onItem };
  }
}

async function generated(
  items: readonly GenerationItem[],
  variants: readonly Variant[],
  options: GeneratorOptions,
): Promise<Measurement[]> {
  const { texts, traffic } = await generateTexts(items, variants, options);
  return texts.map((own, v) => ({ values: own.map((text, i) => items[i]!.score(text)), traffic: traffic[v]! }));
}

async function scored(
  items: readonly ScoringItem[],
  variants: readonly Variant[],
  options: GeneratorOptions,
): Promise<Measurement[]> {
  const { costs, traffic } = await scoreTexts(items, variants, options);
  return costs.map((own, v) => ({ values: own.map((cost, i) => items[i]!.score(cost)), traffic: traffic[v]! }));
}

/** One item after the other, since the graph is as it was found. */
async function measureOnnx(items: readonly Item[], options: GeneratorOptions): Promise<Measurement> {
  const decoder = await OnnxModel.open(options.model, options.threads ?? defaultThreads());
  const own = { ...options, config: options.model.config };
  try {
    const values: number[] = [];
    for (const item of items) {
      values.push(
        item.kind === "generate"
          ? item.score(await generateOnnx(decoder, item, own))
          : item.score(await scoreOnnx(decoder, item, own)),
      );
      options.onItem();
    }
    return { values, traffic: null };
  } finally {
    await decoder.close();
  }
}
