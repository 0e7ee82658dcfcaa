import type { WeightMatrix, WeightSource } from "../builder/weights.ts";
import { ModelError } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import { dequantize } from "./blocks.ts";
import { ROPE_FACTORS } from "./config.ts";
import { blockMatrix } from "./quantised.ts";
import type { GgufFile, GgufTensor } from "./reader.ts";

/** Names within a layer: Hugging Face's to GGUF's. */
const layerNames: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

const globalNames: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
};

/** "model.layers.3.self_attn.q_proj.weight" is "blk.3.attn_q.weight". */
export function ggufName(name: string): string {
  const [, layer, part, kind] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  if (part !== undefined && layerNames[part]) return `blk.${layer}.${layerNames[part]}.${kind}`;
  const [, stem, suffix] = /^(.+)\.(weight|bias)$/.exec(name) ?? [];
  if (stem !== undefined && globalNames[stem]) return `${globalNames[stem]}.${suffix}`;
  throw new TypeError(`no GGUF name is known for ${name}`);
}

/** The weights of a llama-architecture GGUF file, which must stay open while they are read. */
export function ggufWeights(file: GgufFile, config: ModelConfig): WeightSource {
  refuseUnknown(file, config);
  const find = (name: string, shape: readonly number[]): GgufTensor => {
    const tensor = file.tensors.get(ggufName(name));
    if (!tensor) throw new ModelError("file_invalid", `${file.path}: tensor "${ggufName(name)}" is missing`);
    if (tensor.shape.join() !== shape.join()) {
      throw new ModelError(
        "file_invalid",
        `${file.path}: tensor "${tensor.name}" has shape [${tensor.shape.join(", ")}], [${shape.join(", ")}] was expected`,
      );
    }
    return tensor;
  };
  const read = (name: string, tensor: GgufTensor): Uint8Array => {
    const heads = ropeHeads(name, config);
    const bytes = file.read(tensor);
    return heads === undefined ? bytes : pairsToHalves(bytes, tensor.shape[0]!, heads);
  };
  return {
    has: (name) => file.tensors.has(ggufName(name)),
    vector(name, length) {
      const tensor = find(name, [length]);
      return dequantize(tensor.type.name, read(name, tensor));
    },
    matrix(name, rows, columns) {
      const tensor = find(name, [rows, columns]);
      return matrixOf(tensor, read(name, tensor), rows, columns);
    },
  };
}

function matrixOf({ type }: GgufTensor, bytes: Uint8Array, rows: number, columns: number): WeightMatrix {
  switch (type.name) {
    case "F32":
      return { kind: "dense", rows, columns, dtype: "f32", bytes };
    case "F16":
      return { kind: "dense", rows, columns, dtype: "f16", bytes };
    case "BF16":
      return { kind: "dense", rows, columns, dtype: "bf16", bytes };
    default:
      return blockMatrix(type.name, bytes, rows, columns);
  }
}

/** Heads of a projection that rope applies to; undefined for other tensors. */
function ropeHeads(name: string, config: ModelConfig): number | undefined {
  if (name.includes(".q_proj.")) return config.heads;
  if (name.includes(".k_proj.")) return config.kvHeads;
  return undefined;
}

/**
 * llama.cpp's converter interleaves the two halves of each head's rows in q and k, for its rope turns neighbours. Undone
 * here rather than by rope_interleaved: then components, and SparQ's choice among them, are the same as in the Hugging
 * Face model, whichever file it comes from.
 */
export function pairsToHalves(bytes: Uint8Array, rows: number, heads: number): Uint8Array {
  const rowBytes = bytes.byteLength / rows;
  const headDim = rows / heads;
  const out = new Uint8Array(bytes.byteLength);
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / headDim);
    const component = row % headDim;
    const half = component < headDim / 2 ? 0 : 1;
    const from = head * headDim + 2 * (component - (half * headDim) / 2) + half;
    out.set(bytes.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes);
  }
  return out;
}

/** A tensor that nothing reads would mean something that the graph does not do. */
function refuseUnknown(file: GgufFile, config: ModelConfig): void {
  const known = new Set([ROPE_FACTORS]);
  const stems = [
    ...Object.keys(globalNames),
    ...Array.from({ length: config.layers }, (_, layer) =>
      Object.keys(layerNames).map((part) => `model.layers.${layer}.${part}`),
    ).flat(),
  ];
  for (const stem of stems) known.add(ggufName(`${stem}.weight`));
  for (let layer = 0; layer < config.layers; layer++) {
    for (const part of ["q", "k", "v", "output"]) known.add(`blk.${layer}.attn_${part}.bias`);
    known.add(`blk.${layer}.ffn_down.bias`);
  }
  const unknown = [...file.tensors.keys()].filter((name) => !known.has(name));
  if (unknown.length > 0) {
    throw new ModelError(
      "unsupported_graph",
      `${file.path}: ${unknown.length} tensors have no place in a ${config.layers}-layer llama: ${unknown.slice(0, 5).join(", ")}`,
    );
  }
}
