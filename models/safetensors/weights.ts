import { type DenseType, floatsOf, type WeightSource } from "../builder/weights.ts";
import { ModelError } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import type { Checkpoint, CheckpointTensor } from "./checkpoint.ts";

const types: Readonly<Record<string, DenseType>> = { F32: "f32", F16: "f16", BF16: "bf16" };

/** GPT-NeoX's output layer was renamed in transformers 5; both names are in files. */
const OLD_HEAD = "embed_out.weight";
const HEAD = "lm_head.weight";

/** What files carry along that no decoder of today reads: frequencies and masks that are computed. */
const computed = /\.(rotary_emb\.inv_freq|attention\.(bias|masked_bias))$/;

/** Weights of a checkpoint that know which of them were asked for. */
export interface CheckpointWeights extends WeightSource {
  /** Throws ModelError "unsupported_graph" if tensors are left over: they would mean something that was not built. */
  checkAllRead(config: ModelConfig): void;
}

/**
 * The weights of a checkpoint, which must stay open while they are read. Files that were saved without the outermost part of
 * their names ("model.") are understood too.
 */
export function checkpointWeights(checkpoint: Checkpoint): CheckpointWeights {
  const { tensors, folder } = checkpoint;
  const read = new Set<string>();
  const stored = (name: string) => {
    if (tensors.has(name)) return name;
    if (name === OLD_HEAD && tensors.has(HEAD)) return HEAD;
    const inner = name.slice(name.indexOf(".") + 1);
    return /^(model|gpt_neox)\./.test(name) && tensors.has(inner) ? inner : undefined;
  };
  const find = (name: string, shape: readonly number[]): CheckpointTensor => {
    const tensor = tensors.get(stored(name) ?? "");
    if (!tensor) throw new ModelError("file_invalid", `${folder}: tensor "${name}" is missing`);
    if (tensor.shape.join() !== shape.join()) {
      throw new ModelError(
        "file_invalid",
        `${tensor.file.path}: tensor "${tensor.name}" has shape [${tensor.shape.join(", ")}], ` +
          `by config.json it must be [${shape.join(", ")}]`,
      );
    }
    if (!Object.hasOwn(types, tensor.dtype)) {
      throw new ModelError(
        "unsupported_graph",
        `${tensor.file.path}: tensor "${tensor.name}" has dtype ${tensor.dtype}; supported: ${Object.keys(types).join(", ")}`,
      );
    }
    read.add(tensor.name);
    return tensor;
  };
  return {
    has: (name) => stored(name) !== undefined,
    vector(name, length) {
      const tensor = find(name, [length]);
      return floatsOf(types[tensor.dtype]!, tensor.file.read(tensor));
    },
    matrix(name, rows, columns) {
      const tensor = find(name, [rows, columns]);
      const { file, offset } = tensor;
      const pieces = [{ path: file.path, offset, rows }];
      return { kind: "dense", rows, columns, dtype: types[tensor.dtype]!, pieces, read: () => file.read(tensor) };
    },
    checkAllRead({ modelType, layers }) {
      const left = [...tensors.keys()].filter((name) => !read.has(name) && !computed.test(name));
      // A tied model's output matrix may be in the file once more.
      const unknown = left.filter((name) => name !== HEAD && name !== OLD_HEAD);
      if (unknown.length === 0) return;
      throw new ModelError(
        "unsupported_graph",
        `${folder}: ${unknown.length} tensors have no place in a ${modelType} of ${layers} layers as config.json describes it: ` +
          unknown.slice(0, 5).join(", "),
      );
    },
  };
}
