/** The golden checkpoints as GGUF files, as llama.cpp's converter writes Llama, Mistral and GPT-NeoX. */
import { join } from "node:path";
import { floatsOf } from "../../models/builder/weights.ts";
import { openSafetensors, type SafetensorsFile } from "../../models/safetensors/reader.ts";
import type { CheckpointVariant } from "./checkpoints.ts";
import { type MetadataToWrite, type TensorToWrite, writeGguf } from "./gguf-file.ts";
import { goldenPath } from "./golden.ts";

type Config = CheckpointVariant["config"];
interface Heads {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** ggml's numbers of the types that a checkpoint has. */
const types = { F32: 0, F16: 1, BF16: 30 } as const;

/** Hugging Face's names to GGUF's. */
const names: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
  input_layernorm: "attn_norm",
  post_attention_layernorm: "ffn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
  "gpt_neox.embed_in": "token_embd",
  "gpt_neox.final_layer_norm": "output_norm",
  embed_out: "output",
  "attention.query_key_value": "attn_qkv",
  "attention.dense": "attn_output",
  "mlp.dense_h_to_4h": "ffn_up",
  "mlp.dense_4h_to_h": "ffn_down",
};

function ggufName(name: string): string {
  const [, layer, part, kind] = /^(?:(?:model|gpt_neox)\.layers\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(name)!;
  return `${layer === undefined ? "" : `blk.${layer}.`}${names[part!]!}.${kind}`;
}

/** Writes a variant's GGUF; `changes` to its metadata. */
export function writeCheckpointGguf(folder: string, variant: CheckpointVariant, changes: MetadataToWrite = {}): string {
  const { config } = variant;
  const heads = headsOf(config);
  const tensors = variant.files
    .filter((file) => file.endsWith(".safetensors"))
    .flatMap((file) => {
      const checkpoint = openSafetensors(goldenPath("checkpoints", file));
      try {
        return tensorsOf(checkpoint, heads);
      } finally {
        checkpoint.close();
      }
    });
  const factors = llama3Factors(config, heads.headDim);
  const rope = factors
    ? [{ name: "rope_freqs.weight", type: 0, shape: [factors.length], bytes: bytesOf(factors) }]
    : [];
  const path = join(folder, `${variant.name}.gguf`);
  return writeGguf(path, { ...metadataOf(config, heads), ...changes }, [...tensors, ...rope]);
}

function headsOf(config: Config): Heads {
  const heads = config.num_attention_heads as number;
  return {
    heads,
    kvHeads: (config.num_key_value_heads as number | undefined) ?? heads,
    headDim: (config.head_dim as number | undefined) ?? (config.hidden_size as number) / heads,
  };
}

function tensorsOf(checkpoint: SafetensorsFile, { heads, kvHeads, headDim }: Heads): TensorToWrite[] {
  return [...checkpoint.tensors.values()].map((tensor) => {
    const { name, shape } = tensor;
    const dtype = tensor.dtype as keyof typeof types;
    const stored = checkpoint.read(tensor);
    // Vectors are floats in every file.
    const vector = shape.length === 1;
    const bytes = vector ? bytesOf(floatsOf(dtype.toLowerCase() as "f32" | "f16" | "bf16", stored)) : stored;
    const reordered = () => {
      if (name.includes("q_proj")) return reorder(bytes, shape[0]!, pairsOf(heads, headDim));
      if (name.includes("k_proj")) return reorder(bytes, shape[0]!, pairsOf(kvHeads, headDim));
      if (name.includes("query_key_value")) return reorder(bytes, 3 * heads, kindsOf(heads));
      return bytes;
    };
    return { name: ggufName(name), type: vector ? types.F32 : types[dtype], shape, bytes: reordered() };
  });
}

/** The rows of each head, those of both halves in turn: llama.cpp's rope turns neighbours. */
function pairsOf(heads: number, headDim: number): number[] {
  return Array.from({ length: heads * headDim }, (_, row) => {
    const component = row % headDim;
    return row - component + Math.floor(component / 2) + (component % 2) * (headDim / 2);
  });
}

/** Parts of one head dim each: q of all heads, then k, then v, where the class has a head's three together. */
function kindsOf(heads: number): number[] {
  return Array.from({ length: 3 * heads }, (_, i) => 3 * (i % heads) + Math.floor(i / heads));
}

/** Equal parts in another order. */
function reorder(bytes: Uint8Array, parts: number, order: readonly number[]): Uint8Array {
  const part = bytes.length / parts;
  return Buffer.concat(order.map((from) => bytes.subarray(from * part, (from + 1) * part)));
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function metadataOf(config: Config, { heads, kvHeads, headDim }: Heads): MetadataToWrite {
  const neox = config.model_type === "gpt_neox";
  const epsilon = neox ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
  const rotary = neox ? Math.trunc(headDim * (config.rotary_pct as number)) : headDim;
  const values = {
    block_count: config.num_hidden_layers as number,
    context_length: config.max_position_embeddings as number,
    embedding_length: config.hidden_size as number,
    feed_forward_length: config.intermediate_size as number,
    "attention.head_count": heads,
    ...(neox
      ? { use_parallel_residual: config.use_parallel_residual as boolean }
      : { "attention.head_count_kv": kvHeads, "attention.key_length": headDim, "attention.value_length": headDim }),
    [epsilon]: (neox ? config.layer_norm_eps : config.rms_norm_eps) as number,
    "rope.dimension_count": rotary,
    "rope.freq_base": ((neox ? config.rotary_emb_base : config.rope_theta) as number | undefined) ?? 10_000,
    ...scalingOf(config),
  };
  const architecture = neox ? "gptneox" : "llama";
  const vocabulary = Array.from({ length: config.vocab_size as number }, (_, i) => String.fromCharCode(48 + i));
  vocabulary[vocabulary.length - 1] = "01";
  return {
    "general.architecture": architecture,
    ...Object.fromEntries(Object.entries(values).map(([key, value]) => [`${architecture}.${key}`, value])),
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": neox ? "olmo" : "gpt-2",
    "tokenizer.ggml.tokens": vocabulary,
    "tokenizer.ggml.token_type": new Array<number>(vocabulary.length).fill(1),
    "tokenizer.ggml.merges": ["0 1"],
    "tokenizer.ggml.eos_token_id": 2,
  };
}

interface Scaling {
  readonly type?: string;
  readonly rope_type?: string;
  readonly factor: number;
  readonly original_max_position_embeddings: number;
  readonly low_freq_factor: number;
  readonly high_freq_factor: number;
}

function scalingOf({ rope_scaling }: Config): MetadataToWrite {
  const scaling = rope_scaling as Scaling | undefined;
  const type = scaling?.rope_type ?? scaling?.type;
  if (!scaling || (type !== "linear" && type !== "yarn")) return {};
  const { factor, original_max_position_embeddings: original } = scaling;
  return {
    "rope.scaling.type": type,
    "rope.scaling.factor": factor,
    ...(type === "yarn" ? { "rope.scaling.original_context_length": original } : {}),
  };
}

/** What the converter divides Llama 3.1's frequencies by, one for each. */
function llama3Factors(config: Config, headDim: number): Float32Array | undefined {
  const scaling = config.rope_scaling as Scaling | undefined;
  if (!scaling || (scaling.rope_type ?? scaling.type) !== "llama3") return undefined;
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = scaling;
  const theta = (config.rope_theta as number | undefined) ?? 10_000;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wavelength < original / high) return 1;
    if (wavelength > original / low) return factor;
    const smooth = (original / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
