import type { WeightSource } from "../builder/weights.ts";
import { ModelError } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import { type GgufArchitecture, ggufArchitectureOf } from "./architectures.ts";
import { dequantize } from "./blocks.ts";
import { ROPE_FACTORS } from "./config.ts";
import { blockMatrix } from "./quantised.ts";
import type { GgufFile, GgufTensor } from "./reader.ts";

/** "model.layers.3.self_attn.q_proj.weight" is "blk.3.attn_q.weight". */
export function ggufName(name: string, { layerNames, globalNames }: GgufArchitecture): string {
  const [, layer, part, kind] = /^(?:model|gpt_neox)\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  if (part !== undefined && layerNames[part]) return `blk.${layer}.${layerNames[part]}.${kind}`;
  const [, stem, suffix] = /^(.+)\.(weight|bias)$/.exec(name) ?? [];
  if (stem !== undefined && globalNames[stem]) return `${globalNames[stem]}.${suffix}`;
  throw new TypeError(`no GGUF name is known for ${name}`);
}

/** The weights of a GGUF file, which must stay open while they are read. */
export function ggufWeights(file: GgufFile, config: ModelConfig): WeightSource {
  const architecture = ggufArchitectureOf(config);
  refuseUnknown(file, config, architecture);
  const find = (name: string, shape: readonly number[]): GgufTensor => {
    const known = ggufName(name, architecture);
    const tensor = file.tensors.get(known);
    if (!tensor) throw new ModelError("file_invalid", `${file.path}: tensor "${known}" is missing`);
    if (tensor.shape.join() !== shape.join()) {
      throw new ModelError(
        "file_invalid",
        `${tensor.path}: tensor "${tensor.name}" has shape [${tensor.shape.join(", ")}], [${shape.join(", ")}] was expected`,
      );
    }
    return tensor;
  };
  const read = (name: string, tensor: GgufTensor): Uint8Array => {
    const order = rowOrder(name, tensor, config);
    return order === undefined ? file.read(tensor) : order(file.read(tensor));
  };
  return {
    has: (name) => file.tensors.has(ggufName(name, architecture)),
    vector(name, length) {
      const tensor = find(name, [length]);
      return dequantize(tensor.type.name, read(name, tensor));
    },
    matrix(name, rows, columns) {
      const tensor = find(name, [rows, columns]);
      const type = tensor.type.name;
      if (type !== "F32" && type !== "F16" && type !== "BF16") {
        return blockMatrix(type, read(name, tensor), rows, columns);
      }
      const asStored = rowOrder(name, tensor, config) === undefined;
      return {
        ...{ kind: "dense", rows, columns, dtype: denseTypes[type] },
        ...(asStored ? { pieces: [{ path: tensor.path, offset: tensor.offset, rows }] } : {}),
        read: () => read(name, tensor),
      };
    },
  };
}

const denseTypes = { F32: "f32", F16: "f16", BF16: "bf16" } as const;

/** What puts a tensor's rows into the order of Hugging Face's; undefined if they are in it. */
function rowOrder(name: string, { shape }: GgufTensor, config: ModelConfig) {
  if (name.includes(".query_key_value.")) return (bytes: Uint8Array) => kindsToHeads(bytes, config);
  const heads = ropeHeads(name, config);
  return heads === undefined ? undefined : (bytes: Uint8Array) => pairsToHalves(bytes, shape[0]!, heads);
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

/** llama.cpp's converter puts all heads' q before all k and all v; Hugging Face's class has each head's three together. */
function kindsToHeads(bytes: Uint8Array, { heads }: ModelConfig): Uint8Array {
  const out = new Uint8Array(bytes.byteLength);
  const part = bytes.byteLength / (3 * heads);
  for (let head = 0; head < heads; head++) {
    for (let kind = 0; kind < 3; kind++) {
      const from = (kind * heads + head) * part;
      out.set(bytes.subarray(from, from + part), (3 * head + kind) * part);
    }
  }
  return out;
}

/** A tensor that nothing reads would mean something that the graph does not do. */
function refuseUnknown(file: GgufFile, { layers }: ModelConfig, architecture: GgufArchitecture): void {
  const { globalNames, layerNames, biased, modelType } = architecture;
  const known = new Set([ROPE_FACTORS]);
  const add = (part: string, prefix: string) => {
    known.add(`${prefix}${part}.weight`);
    if (biased.includes(part)) known.add(`${prefix}${part}.bias`);
  };
  for (const part of Object.values(globalNames)) add(part, "");
  for (let layer = 0; layer < layers; layer++) {
    for (const part of Object.values(layerNames)) add(part, `blk.${layer}.`);
  }
  const unknown = [...file.tensors.keys()].filter((name) => !known.has(name));
  if (unknown.length > 0) {
    throw new ModelError(
      "unsupported_graph",
      `${file.path}: ${unknown.length} tensors have no place in a ${layers}-layer ${modelType}: ${unknown.slice(0, 5).join(", ")}`,
    );
  }
}
