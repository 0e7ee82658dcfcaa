/** The roads by which each golden checkpoint comes to a session, and why there is none where there is none. */
import { type CheckpointVariant, variants } from "./checkpoints.ts";
import { exporters } from "./parity-exports.ts";

export const roads = ["checkpoint", "gguf", ...exporters] as const;
/** A checkpoint as it is, its tensors as llama.cpp's converter writes them, or an export: by torch.onnx's two exporters and by Hugging Face optimum, two old releases of it too. */
export type Road = (typeof roads)[number];

interface Gap {
  readonly road: Road;
  readonly variants: RegExp;
  readonly why: string;
  /** There is a file, and it is refused with this. */
  readonly refused?: RegExp;
}

const perLength =
  "the traced graph computes frequencies from each text's length, and queries would meet keys that were rotated by others";
const aFew = "of old releases a few are enough, one of each kind";

const gaps: readonly Gap[] = [
  {
    road: "gguf",
    variants: /^(qwen|phi|gemma)/,
    why: "GGUF has them as architectures of their own, which are not read",
  },
  { road: "gguf", variants: /^mistral-window$/, why: "llama.cpp's converter writes no window for Mistral" },
  {
    road: "gguf",
    variants: /-dynamic-|-longrope-/,
    why: "GGUF has no dynamic scaling, and llama.cpp's converter writes longrope for other architectures only",
  },
  {
    road: "gguf",
    variants: /^llama-yarn-rope_type$/,
    why: "its attention factor is its own, which llama.cpp would multiply with the one that it computes",
  },
  {
    road: "gguf",
    variants: /-whole-heads$/,
    why: "its activation is not GPT-NeoX's usual one, and GGUF does not say it",
  },
  { road: "gguf", variants: /-unbiased$/, why: "llama.cpp wants all biases of GPT-NeoX" },
  {
    road: "dynamo",
    variants: /-dynamic-|-longrope-/,
    why: "torch.export cannot follow rope that chooses its frequencies by the text's length",
  },
  {
    road: "script",
    variants: /-dynamic-(beyond|rope_type)$/,
    why: perLength,
    refused: /rope as --max-context chooses it \(dynamic-48\)/,
  },
  {
    road: "optimum-2024",
    variants: /^llama-dynamic-(inside|beyond)$/,
    why: perLength,
    refused: /layer 0, .*on 1 tokens behind 0 cached ones its result differs/,
  },
  {
    road: "optimum-2024",
    variants: /^(?!llama|mistral|gpt_neox)|^llama-(odd|llama3|yarn|longrope)|-rope_type$/,
    why: "transformers 4.37, which it goes with, knows no such model",
  },
  {
    road: "optimum-2024",
    variants: /^mistral-window$/,
    why: "it leaves the window out, so the graph is another model: mistral-no-window's",
  },
  {
    road: "optimum-2024",
    variants: /^(?!(llama|mistral-no-window|gpt_neox-serial|gpt_neox-unbiased)$)/,
    why: aFew,
  },
  {
    road: "optimum-2023",
    variants: /^(?!llama|gpt_neox)|^llama(-(odd|llama3|yarn|longrope).*|.*-rope_type)$/,
    why: "transformers 4.33, which it goes with, knows no such model",
  },
  {
    road: "optimum-2023",
    variants: /^llama(?!-alone)/,
    why: "it gives its example's cache as many heads as there are queries, and fails on grouped ones",
  },
  { road: "optimum-2023", variants: /^(?!(gpt_neox|gpt_neox-linear|llama-alone|llama-alone-linear)$)/, why: aFew },
  {
    road: "optimum",
    variants: /-dynamic-(beyond|rope_type)$|-longrope-beyond$/,
    why: "it traces a short text, so the graph has the frequencies of short texts: it is another model",
  },
  {
    road: "optimum",
    variants: /^llama-longrope-inside$/,
    why: "transformers 4, which optimum needs, wants a factor beside the lists of factors",
  },
];

/** A variant on a road, or why it is not there, or the error that refuses it. */
export interface Passage {
  readonly variant: CheckpointVariant;
  readonly road: Road;
  readonly gap: Gap | undefined;
}

export const passages: readonly Passage[] = roads.flatMap((road) =>
  variants.map((variant) => ({
    variant,
    road,
    gap: gaps.find((gap) => gap.road === road && gap.variants.test(variant.name)),
  })),
);
