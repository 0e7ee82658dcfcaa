import { describe, expect, it } from "vitest";
import { type CacheShape, readSignature, type ValueMetadata } from "../../../attention/onnx/signature.ts";
import { ModelError } from "../../../models/errors.ts";

type Type = Extract<ValueMetadata, { isTensor: true }>["type"];

function tensor(name: string, type: Type, shape: readonly (number | string)[]): ValueMetadata {
  return { name, isTensor: true, type, shape: [...shape] };
}

const ids = tensor("input_ids", "int64", ["b", "t"]);
const mask = tensor("attention_mask", "int64", ["b", "p + t"]);
const pastShape = ["b", 2, "p", 8];
const past = ["key", "value"].map((kind) => tensor(`past_key_values.0.${kind}`, "float32", pastShape));
const present = ["key", "value"].map((kind) => tensor(`present.0.${kind}`, "float32", ["b", 2, "p + t", 8]));
const logits = tensor("logits", "float32", ["b", "t", 56]);
const shape: CacheShape = { layers: 1, kvHeads: 2, headDim: 8, vocabSize: 56, certain: true };

const inputs = [ids, mask, ...past];
const outputs = [logits, ...present];

function refusal(
  given: readonly ValueMetadata[],
  made: readonly ValueMetadata[],
  about: CacheShape = shape,
): ModelError {
  try {
    readSignature("a.onnx", given, made, about);
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("a decoder's inputs by their names", () => {
  it("are those of optimum", () => {
    expect(readSignature("a.onnx", inputs, outputs, shape)).toEqual({
      inputs: [
        { name: "input_ids", role: "ids", type: "int64", rank: 2 },
        { name: "attention_mask", role: "mask", type: "int64", rank: 2 },
      ],
      slots: ["key", "value"].map((kind) => {
        return { input: `past_key_values.0.${kind}`, output: `present.0.${kind}`, type: "float32", heads: 2, width: 8 };
      }),
      logits: "logits",
      vocabSize: 56,
    });
  });

  it("are those of transformers.js and onnxruntime-genai, in their types", () => {
    const given = [
      tensor("input_ids", "int32", ["b", "t"]),
      tensor("cache_position", "int64", ["t"]),
      tensor("num_logits_to_keep", "int64", []),
      tensor("use_cache_branch", "bool", [1]),
    ];
    const { inputs: plain, slots } = readSignature("a.onnx", given, [logits], shape);
    expect(plain.map(({ role, rank }) => [role, rank])).toEqual([
      ["ids", 2],
      ["positions", 1],
      ["keptLogits", 0],
      ["usesCache", 1],
    ]);
    expect(slots).toEqual([]);
  });

  it("take float16 caches, and sizes from config.json where the graph leaves them open", () => {
    const open = ["b", "heads", "p", "width"];
    const given = [ids, ...["key", "value"].map((kind) => tensor(`past_key_values.0.${kind}`, "float16", open))];
    const made = [logits, ...["key", "value"].map((kind) => tensor(`present.0.${kind}`, "float16", open))];
    const { slots } = readSignature("a.onnx", given, made, shape);
    expect(slots.map(({ type, heads, width }) => [type, heads, width])).toEqual([
      ["float16", 2, 8],
      ["float16", 2, 8],
    ]);
    expect(refusal(given, made, { certain: false }).message).toContain("leaves the number of KV heads open");
  });

  it("may have keys and values of other widths where the architecture is not known", () => {
    const given = [ids, past[0]!, tensor("past_key_values.0.value", "float32", ["b", 4, "p", 6])];
    const { slots } = readSignature("a.onnx", given, outputs, { ...shape, certain: false });
    expect(slots.map(({ heads, width }) => [heads, width])).toEqual([
      [2, 8],
      [4, 6],
    ]);
  });
});

describe("what is refused", () => {
  it.each<[string, readonly ValueMetadata[], readonly ValueMetadata[], string]>([
    [
      "an input that nobody knows",
      [...inputs, tensor("seqlens_k", "int32", ["b"])],
      outputs,
      '"seqlens_k" int32 [b] is for is not known',
    ],
    [
      "embeddings instead of tokens",
      [tensor("inputs_embeds", "float32", ["b", "t", 24])],
      outputs,
      '"inputs_embeds" float32 [b, t, 24]',
    ],
    ["no tokens", [mask], outputs, 'no input "input_ids"; it has attention_mask'],
    [
      "positions in three dimensions",
      [ids, tensor("position_ids", "int64", [3, "b", "t"])],
      outputs,
      "must be int64 or int32 with 1 or 2 dimensions",
    ],
    [
      "a fixed length",
      [tensor("input_ids", "int64", [1, 128])],
      outputs,
      '"input_ids" int64 [1, 128] has a fixed size of 128',
    ],
    [
      "a fixed past",
      [ids, tensor("past_key_values.0.key", "float32", [1, 2, 64, 8])],
      outputs,
      "one sequence with any number of positions must fit",
    ],
    [
      "a past of three dimensions",
      [ids, tensor("past_key_values.0.key", "float32", ["b", "p", 16])],
      outputs,
      "float32 or float16 with 4 dimensions",
    ],
    [
      "a past in int8",
      [ids, tensor("past_key_values.0.key", "int8", pastShape)],
      outputs,
      '"past_key_values.0.key" int8',
    ],
    [
      "a past that nothing goes on with",
      inputs,
      [logits, present[0]!],
      "no output present.0.value that goes on with it; it has logits, present.0.key",
    ],
    ["no logits", inputs, present, 'no output "logits"'],
  ])("%s", (_, given, made, message) => {
    const error = refusal(given, made);
    expect(error.message).toContain(message);
    expect(error.code).toBe("unsupported_graph");
  });

  it.each<[Partial<CacheShape>, string]>([
    [{ kvHeads: 4 }, '"past_key_values.0.key" float32 [b, 2, p, 8] has 2 KV heads, config.json has 4'],
    [{ headDim: 16 }, "has 8 components of a head, config.json has 16"],
    [{ layers: 3 }, "has 2 inputs for cached keys and values, config.json has num_hidden_layers = 3, which need 6"],
    [{ vocabSize: 57 }, "has 56 logits, config.json has vocab_size = 57"],
  ])("a graph that is not what config.json says: %j", (changes, message) => {
    const error = refusal(inputs, outputs, { ...shape, ...changes });
    expect(error.message).toContain(message);
    expect(error.code).toBe("unsupported_config");
  });
});
