import type { Fields } from "../fields.ts";

export type ModelType = "llama" | "mistral" | "qwen2" | "qwen3" | "phi3" | "gemma" | "gpt_neox";

/** "gelu" is exact (erf), "gelu_tanh" its usual approximation. */
export type Activation = "silu" | "gelu" | "gelu_tanh";

/** Names of tensors, without the layers' number and without ".weight" and ".bias". */
export interface TensorNames {
  readonly embedding: string;
  /** A layer's names begin with this and its number. */
  readonly layers: string;
  readonly attentionNorm: string;
  /** Where q, k and v come from: three matrices, or one. */
  readonly projections: readonly [q: string, k: string, v: string] | readonly [qkv: string];
  readonly output: string;
  readonly feedNorm: string;
  /** What widens: the gate and the linear part, one matrix with both, or one without a gate. */
  readonly widen: readonly string[];
  readonly narrow: string;
  readonly finalNorm: string;
  readonly head: string;
}

/**
 * What tells one `model_type` from another: how its config.json is read, and how its decoder is built. Defaults are those of
 * transformers' configuration classes.
 */
export interface Architecture {
  /** Values of `hidden_act` that are known. */
  readonly activations: Readonly<Record<string, Activation>>;
  readonly defaultActivation: string;
  readonly normField: string;
  readonly defaultNormEps: number;
  readonly defaultBos: readonly number[];
  readonly defaultEos: readonly number[];
  readonly defaultPositions: number;
  /** The older spelling of rope_theta, and of partial_rotary_factor, with the latter's default. */
  readonly thetaField: string;
  readonly partialField: string;
  readonly defaultPartial: number;
  readonly tiedByDefault: boolean;
  /** Absent: every query head has its own keys. "heads": as many as query heads unless the file says otherwise. */
  readonly defaultKvHeads?: number | "heads";
  /** Absent: a head is hidden_size / num_attention_heads wide unless the file says otherwise. */
  readonly defaultHeadDim?: number;
  /** The linear layers that have a bias, by their names among `names`. */
  readonly biases: (fields: Fields) => readonly string[];
  /** For each layer how many positions back a row sees, itself included; 0: all. Absent: all layers see all. */
  readonly windows?: (fields: Fields, layers: number) => readonly number[];

  readonly names: TensorNames;
  /** "rms1": RMS norms whose weights are stored less 1. */
  readonly norm: "rms" | "rms1" | "layer";
  /** How heads lie in one joint projection: all of q, then k, then v; or q, k and v of a head side by side. */
  readonly heads: "blocked" | "interleaved";
  /** RMS norms of each head of q and of k before rope: their names. */
  readonly headNorms?: readonly [q: string, k: string];
  readonly gated: boolean;
  /** Multiplied into the embeddings; absent: nothing. */
  readonly embeddingScale?: (hiddenSize: number) => number;
}
