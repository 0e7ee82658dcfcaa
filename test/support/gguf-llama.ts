import { type TensorTypeName, tensorType } from "../../models/gguf/types.ts";
import type { MetadataToWrite, TensorToWrite } from "./gguf-file.ts";

/** A random number generator with a seed (mulberry32): uniform in [0, 1). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Byte offsets of f16 numbers in a block. */
const halfFields: Partial<Record<TensorTypeName, readonly number[]>> = {
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q8_0: [0],
  Q2_K: [80, 82],
  Q3_K: [108],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
  IQ4_NL: [0],
};

/** About 2^-9 and 2^-12 as binary16: weights stay small whatever the type's range of integers. */
const HALF_SCALES = [0x1800, 0x0c00];

/** `elements` random weights in a block format: any integers, scales of a sensible size and either sign. */
export function randomBlocks(type: TensorTypeName, elements: number, random: () => number): Uint8Array {
  const { blockSize, blockBytes } = tensorType(type);
  const bytes = Uint8Array.from({ length: (elements / blockSize) * blockBytes }, () => random() * 256);
  for (let at = 0; at < bytes.length; at += blockBytes) {
    for (const [i, field] of (halfFields[type] ?? []).entries()) {
      const bits = HALF_SCALES[i]! | (random() * 1024) | (random() < 0.5 ? 0x8000 : 0);
      bytes[at + field] = bits & 255;
      bytes[at + field + 1] = bits >> 8;
    }
  }
  return bytes;
}

/** Sizes of the model that `llamaTensors` makes: one layer, two heads that share keys and values, 40 tokens. */
export const sizes = { hidden: 256, feed: 256, heads: 2, kvHeads: 1, vocab: 40 } as const;

/** Metadata of that model. */
export const llamaMetadata: MetadataToWrite = {
  "general.architecture": "llama",
  "llama.block_count": 1,
  "llama.context_length": 256,
  "llama.embedding_length": sizes.hidden,
  "llama.feed_forward_length": sizes.feed,
  "llama.attention.head_count": sizes.heads,
  "llama.attention.head_count_kv": sizes.kvHeads,
  "llama.attention.layer_norm_rms_epsilon": 1e-5,
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.pre": "gpt-2",
  "tokenizer.ggml.tokens": [
    "<s>",
    "</s>",
    ...Array.from({ length: sizes.vocab - 3 }, (_, i) => String.fromCharCode(65 + i)),
    "AB",
  ],
  "tokenizer.ggml.token_type": [3, 3, ...new Array<number>(sizes.vocab - 2).fill(1)],
  "tokenizer.ggml.merges": ["A B"],
  "tokenizer.ggml.bos_token_id": 0,
  "tokenizer.ggml.eos_token_id": 1,
};

/** Shapes of that model's matrices by GGUF name. */
export function matrixShapes(): Record<string, readonly [number, number]> {
  const { hidden, feed, heads, kvHeads, vocab } = sizes;
  const keys = (hidden / heads) * kvHeads;
  return {
    "token_embd.weight": [vocab, hidden],
    "output.weight": [vocab, hidden],
    "blk.0.attn_q.weight": [hidden, hidden],
    "blk.0.attn_k.weight": [keys, hidden],
    "blk.0.attn_v.weight": [keys, hidden],
    "blk.0.attn_output.weight": [hidden, hidden],
    "blk.0.ffn_gate.weight": [feed, hidden],
    "blk.0.ffn_up.weight": [feed, hidden],
    "blk.0.ffn_down.weight": [hidden, feed],
  };
}

/** The tensors of that model: matrices as `matrix` gives them, norms of ones. */
export function llamaTensors(
  matrix: (name: string, elements: number) => { readonly type: number; readonly bytes: Uint8Array },
): TensorToWrite[] {
  const ones = new Uint8Array(new Float32Array(sizes.hidden).fill(1).buffer);
  const norms = ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"];
  return [
    ...Object.entries(matrixShapes()).map(([name, shape]) => ({ name, shape, ...matrix(name, shape[0] * shape[1]) })),
    ...norms.map((name) => ({ name: `${name}.weight`, shape: [sizes.hidden], type: 0, bytes: ones })),
  ];
}
