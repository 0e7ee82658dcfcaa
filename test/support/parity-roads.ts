/** The roads by which each golden checkpoint comes to a session, and why there is none where there is none. */
import { type CheckpointVariant, variants } from "./checkpoints.ts";

export const roads = ["checkpoint", "script", "dynamo", "optimum"] as const;
/** A checkpoint as it is, or an export: by torch.onnx's two exporters and by Hugging Face optimum. */
export type Road = (typeof roads)[number];

interface Gap {
  readonly road: Road;
  readonly variants: RegExp;
  readonly why: string;
  /** There is a file, and it is refused with this. */
  readonly refused?: RegExp;
}

const gaps: readonly Gap[] = [
  {
    road: "dynamo",
    variants: /-dynamic-|-longrope-/,
    why: "torch.export cannot follow rope that chooses its frequencies by the text's length",
  },
  {
    road: "script",
    variants: /-dynamic-(beyond|rope_type)$/,
    why: "the traced graph computes frequencies from each text's length, and queries would meet keys that were rotated by others",
    refused: /rope as --max-context chooses it \(dynamic-48\)/,
  },
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
