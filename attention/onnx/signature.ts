import type { InferenceSession } from "onnxruntime-node";
import { ModelError } from "../../models/errors.ts";

export type ValueMetadata = InferenceSession.ValueMetadata;

/** What a decoder's input is for, other than cached keys and values. */
export type InputRole = "ids" | "mask" | "positions" | "keptLogits" | "usesCache";

export interface PlainInput {
  readonly name: string;
  readonly role: InputRole;
  /** ONNX Runtime's name of the type of its elements. */
  readonly type: string;
  readonly rank: number;
}

/** An input for cached keys or values, [1, heads, positions, width], and the output that has them with the new ones behind. */
export interface CacheSlot {
  readonly input: string;
  readonly output: string;
  readonly type: "float32" | "float16";
  readonly heads: number;
  readonly width: number;
}

/** How a decoder takes tokens and gives logits. */
export interface DecoderSignature {
  readonly inputs: readonly PlainInput[];
  /** Empty for a graph that sees the whole text each time. */
  readonly slots: readonly CacheSlot[];
  readonly logits: string;
  readonly vocabSize: number;
}

/** What config.json says of the caches, as far as it does. */
export interface CacheShape {
  readonly layers?: number | undefined;
  readonly kvHeads?: number | undefined;
  readonly headDim?: number | undefined;
  readonly vocabSize?: number | undefined;
  /** Whether a graph that says otherwise is another model's; else what the graph says counts. */
  readonly certain: boolean;
}

interface Meaning {
  readonly role: InputRole;
  readonly types: readonly string[];
  readonly ranks: readonly number[];
}

const integers = ["int64", "int32"];

/** Inputs by the names that optimum, transformers.js and onnxruntime-genai give them. */
const meanings: Readonly<Record<string, Meaning>> = {
  input_ids: { role: "ids", types: integers, ranks: [2] },
  attention_mask: { role: "mask", types: [...integers, "bool", "float32"], ranks: [2] },
  position_ids: { role: "positions", types: integers, ranks: [1, 2] },
  cache_position: { role: "positions", types: integers, ranks: [1] },
  num_logits_to_keep: { role: "keptLogits", types: integers, ranks: [0, 1] },
  logits_to_keep: { role: "keptLogits", types: integers, ranks: [0, 1] },
  use_cache_branch: { role: "usesCache", types: ["bool"], ranks: [1] },
};

const pastName = /^past(?:_key_values)?\.(\d+)\.(key|value)$/;

/**
 * Reads inputs and outputs by their names. Throws ModelError: "unsupported_graph" naming the input that is none of a decoder's,
 * or has a type or shape that it cannot have; "unsupported_config" where graph and config.json disagree.
 */
export function readSignature(
  path: string,
  inputs: readonly ValueMetadata[],
  outputs: readonly ValueMetadata[],
  shape: CacheShape,
): DecoderSignature {
  const plain: PlainInput[] = [];
  const slots: CacheSlot[] = [];
  for (const value of inputs) {
    if (pastName.test(value.name)) slots.push(slotOf(path, value, outputs, shape));
    else plain.push(plainInput(path, value));
  }
  if (!plain.some(({ role }) => role === "ids")) refuse(path, `it has no input "input_ids"; it has ${namesOf(inputs)}`);
  checkLayers(path, slots, shape);
  return { inputs: plain, slots, ...readLogits(path, outputs, shape) };
}

function plainInput(path: string, value: ValueMetadata): PlainInput {
  const { name } = value;
  const meaning = meanings[name];
  if (meaning === undefined) {
    refuse(
      path,
      `what its input ${described(value)} is for is not known; known are ${Object.keys(meanings).join(", ")} and past_key_values.N.key and .value`,
    );
  }
  const { role, types, ranks } = meaning;
  if (!value.isTensor || !types.includes(value.type) || !ranks.includes(value.shape.length)) {
    refuse(
      path,
      `its input ${described(value)} must be ${types.join(" or ")} with ${ranks.join(" or ")} dimensions to be served`,
    );
  }
  const fixed = value.shape.find(
    (size, i) => typeof size === "number" && (i < value.shape.length - 1 ? size !== 1 : true),
  );
  if (fixed !== undefined && role !== "keptLogits" && role !== "usesCache") {
    refuse(path, `its input ${described(value)} has a fixed size of ${fixed}; texts of any length must fit`);
  }
  return { name, role, type: value.type, rank: value.shape.length };
}

function slotOf(path: string, value: ValueMetadata, outputs: readonly ValueMetadata[], shape: CacheShape): CacheSlot {
  if (!value.isTensor || (value.type !== "float32" && value.type !== "float16") || value.shape.length !== 4) {
    refuse(path, `its input ${described(value)} must be float32 or float16 with 4 dimensions to be served`);
  }
  const [batch, heads, positions, width] = value.shape as [Size, Size, Size, Size];
  if ((typeof batch === "number" && batch !== 1) || typeof positions === "number") {
    refuse(path, `its input ${described(value)} has fixed sizes; one sequence with any number of positions must fit`);
  }
  const [, layer, kind] = pastName.exec(value.name)!;
  const names = ["present", "present_key_values"].map((name) => `${name}.${layer}.${kind}`);
  const output = outputs.find(({ name }) => names.includes(name));
  if (output === undefined) {
    refuse(
      path,
      `its input ${described(value)} has no output ${names[0]} that goes on with it; it has ${namesOf(outputs)}`,
    );
  }
  if (!output.isTensor || output.type !== value.type) {
    refuse(path, `its output ${described(output)} must be ${value.type}, as the input "${value.name}" is`);
  }
  return {
    input: value.name,
    output: output.name,
    type: value.type,
    heads: agreed(path, value, heads, shape.kvHeads, "KV heads", shape),
    width: agreed(path, value, width, shape.headDim, "components of a head", shape),
  };
}

type Size = number | string;

/** The graph's size, or config.json's where the graph leaves it open. */
function agreed(
  path: string,
  value: ValueMetadata,
  size: Size,
  configured: number | undefined,
  what: string,
  { certain }: CacheShape,
): number {
  if (typeof size !== "number") {
    if (configured !== undefined) return configured;
    refuse(path, `its input ${described(value)} leaves the number of ${what} open, and config.json does not give it`);
  }
  if (!certain || configured === undefined || configured === size) return size;
  throw new ModelError(
    "unsupported_config",
    `${path}: its input ${described(value)} has ${size} ${what}, config.json has ${configured}`,
  );
}

function checkLayers(path: string, slots: readonly CacheSlot[], { layers, certain }: CacheShape): void {
  if (slots.length === 0 || !certain || layers === undefined || slots.length === 2 * layers) return;
  throw new ModelError(
    "unsupported_config",
    `${path} has ${slots.length} inputs for cached keys and values, config.json has num_hidden_layers = ${layers}, which need ${2 * layers}`,
  );
}

function readLogits(path: string, outputs: readonly ValueMetadata[], { vocabSize }: CacheShape) {
  const value = outputs.find(({ name }) => name === "logits");
  if (!value?.isTensor || (value.type !== "float32" && value.type !== "float16")) {
    refuse(path, `it has no output "logits" of float32 or float16; it has ${outputs.map(described).join(", ")}`);
  }
  const width = value.shape.at(-1);
  if (typeof width !== "number") {
    if (vocabSize !== undefined) return { logits: value.name, vocabSize };
    refuse(path, `its output ${described(value)} leaves the vocabulary's size open, and config.json does not give it`);
  }
  if (vocabSize === undefined || vocabSize === width) return { logits: value.name, vocabSize: width };
  throw new ModelError("unsupported_config", `${path} has ${width} logits, config.json has vocab_size = ${vocabSize}`);
}

/** "past_key_values.0.key" float32 [batch, 2, past, 8] */
export function described(value: ValueMetadata): string {
  return value.isTensor
    ? `"${value.name}" ${value.type} [${value.shape.join(", ")}]`
    : `"${value.name}", which is no tensor,`;
}

function namesOf(values: readonly ValueMetadata[]): string {
  return values.map(({ name }) => name).join(", ") || "none";
}

function refuse(path: string, why: string): never {
  throw new ModelError("unsupported_graph", `${path} cannot be served as it is: ${why}`);
}
