import { describe, expect, it } from "vitest";
import { parseConfig } from "../../models/config.ts";
import { ModelError } from "../../models/errors.ts";

const llama = {
  model_type: "llama",
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  vocab_size: 100,
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  hidden_act: "silu",
  bos_token_id: 1,
  eos_token_id: 2,
};
const neox = {
  model_type: "gpt_neox",
  hidden_size: 64,
  intermediate_size: 256,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 100,
  hidden_act: "gelu",
};

const parse = (config: Record<string, unknown>, generation?: Record<string, unknown>) =>
  parseConfig(config, generation, "m/config.json");

describe("config.json of a llama", () => {
  it("becomes a ModelConfig", () => {
    expect(parse(llama)).toEqual({
      modelType: "llama",
      layers: 2,
      hiddenSize: 64,
      intermediateSize: 96,
      heads: 8,
      kvHeads: 2,
      headDim: 8,
      vocabSize: 100,
      maxPositions: 512,
      rotaryDim: 8,
      inverseFrequencies: Float32Array.of(1, 0.1, 0.01, 0.001),
      ropeScale: 1,
      normEps: 1e-5,
      activation: "silu",
      tiedHead: false,
      parallelResidual: false,
      biases: [],
      bosTokenId: 1,
      eosTokenIds: [2],
    });
  });

  it("has defaults as transformers' class has them", () => {
    const {
      max_position_embeddings,
      rms_norm_eps,
      num_key_value_heads,
      eos_token_id,
      bos_token_id,
      hidden_act,
      ...rest
    } = llama;
    expect(parse(rest)).toMatchObject({
      maxPositions: 2048,
      normEps: 1e-6,
      kvHeads: 8,
      eosTokenIds: [2],
      bosTokenId: 1,
    });
  });

  it("may give the head size itself", () => {
    expect(parse({ ...llama, head_dim: 32 })).toMatchObject({ headDim: 32, rotaryDim: 32 });
    expect(parse({ ...llama, head_dim: null })).toMatchObject({ headDim: 8 });
    expect(parse({ ...llama, num_attention_heads: 6, head_dim: 16 })).toMatchObject({ headDim: 16 });
  });

  it("means the same in transformers 4's and 5's spelling", () => {
    const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 128 };
    const four = parse({ ...llama, rope_theta: 5e5, rope_scaling: { rope_type: "llama3", ...scaling } });
    const five = parse({ ...llama, rope_parameters: { rope_type: "llama3", rope_theta: 5e5, ...scaling } });
    expect(four).toEqual(five);
    expect(four.inverseFrequencies[3]).toBeLessThan(parse({ ...llama, rope_theta: 5e5 }).inverseFrequencies[3]!);
    const old = parse({ ...llama, rope_scaling: { type: "linear", factor: 4 } });
    expect(old.inverseFrequencies).toEqual(
      Float32Array.of(1 / 4, Math.fround(0.1) / 4, Math.fround(0.01) / 4, Math.fround(0.001) / 4),
    );
    expect(parse({ ...llama, rope_scaling: null })).toEqual(parse(llama));
  });

  it("collects every end-of-sequence token, those to generate with first", () => {
    expect(parse(llama, { eos_token_id: [7, 2, 9] }).eosTokenIds).toEqual([7, 2, 9]);
    expect(parse({ ...llama, eos_token_id: [3, 4] }, { eos_token_id: 5 }).eosTokenIds).toEqual([5, 3, 4]);
    expect(parse({ ...llama, eos_token_id: null }).eosTokenIds).toEqual([]);
    expect(parse({ ...llama, bos_token_id: null }).bosTokenId).toBeUndefined();
  });
});

describe("config.json of a gpt_neox", () => {
  it("rotates a quarter of each head unless told otherwise", () => {
    expect(parse(neox)).toMatchObject({
      headDim: 16,
      kvHeads: 4,
      rotaryDim: 4,
      parallelResidual: true,
      normEps: 1e-5,
      bosTokenId: 0,
    });
    expect(parse({ ...neox, rotary_pct: 0.5 }).rotaryDim).toBe(8);
    expect(parse({ ...neox, partial_rotary_factor: 1 }).rotaryDim).toBe(16);
    expect(parse({ ...neox, rope_parameters: { partial_rotary_factor: 0.5 } }).rotaryDim).toBe(8);
  });

  it("has older names for theta and the share", () => {
    const old = parse({ ...neox, rotary_emb_base: 500, rotary_pct: 0.5 });
    expect(old).toEqual(
      parse({ ...neox, rope_parameters: { rope_type: "default", rope_theta: 500, partial_rotary_factor: 0.5 } }),
    );
    expect(old.inverseFrequencies[1]).toBeCloseTo(500 ** -0.25, 6);
  });

  it("may have a serial residual and a tied head", () => {
    expect(parse({ ...neox, use_parallel_residual: false, tie_word_embeddings: true })).toMatchObject({
      parallelResidual: false,
      tiedHead: true,
    });
  });
});

describe("rope that goes by the longest sequence to be served", () => {
  const served = (config: Record<string, unknown>, maxContext?: number) =>
    parseConfig(config, undefined, "m/config.json", { maxContext });

  it("is dynamic: beyond the model's own positions up to the factor, if that is asked for", () => {
    const dynamic = { ...llama, rope_scaling: { type: "dynamic", factor: 4 } };
    const plain = parse(llama);
    for (const same of [parse(dynamic), served(dynamic, 512), served(dynamic, 100)]) expect(same).toEqual(plain);
    const longer = served(dynamic, 1024);
    // theta * (4 * 2 - 3) ** (8 / 6)
    expect(longer).toMatchObject({ maxPositions: 1024, ropeVariant: "dynamic-1024" });
    expect(longer.inverseFrequencies[1]).toBeCloseTo((1e4 * 5 ** (8 / 6)) ** -0.25, 7);
    expect(served(dynamic, 1e6)).toMatchObject({ maxPositions: 2048, ropeVariant: "dynamic-2048" });
  });

  it("is longrope, by either of its names: short factors up to the original context, else long ones", () => {
    const factors = { short_factor: [1, 1, 1, 2], long_factor: [1, 2, 4, 8] };
    for (const type of ["longrope", "su"]) {
      const config = { ...llama, original_max_position_embeddings: 128, rope_scaling: { type, ...factors } };
      const scale = Math.sqrt(1 + Math.log(4) / Math.log(128));
      expect(parse(config)).toMatchObject({ maxPositions: 512, ropeVariant: "long", ropeScale: scale });
      expect(parse(config).inverseFrequencies).toEqual(Float32Array.of(1, 0.05, 0.0025, 0.000125));
      expect(served(config, 129).ropeVariant).toBe("long");
      expect(served(config, 128)).toMatchObject({ ropeVariant: "short", ropeScale: scale });
      expect(served(config, 128).inverseFrequencies).toEqual(Float32Array.of(1, 0.1, 0.01, 0.0005));
    }
  });
});

describe("windows", () => {
  const mistral = { ...llama, model_type: "mistral" };
  const qwen = { ...llama, model_type: "qwen2", num_hidden_layers: 3, sliding_window: 64, max_window_layers: 1 };

  it("are Mistral's in every layer unless null", () => {
    expect(parse({ ...mistral, sliding_window: 64 }).windows).toEqual([64, 64]);
    expect(parse(mistral).windows).toEqual([4096, 4096]);
    expect(parse({ ...mistral, sliding_window: null }).windows).toBeUndefined();
    expect(() => parse({ ...mistral, sliding_window: 0 })).toThrow("sliding_window is 0; it must be an integer >= 1");
  });

  it("are Qwen's in upper layers if used, or as layer_types says", () => {
    expect(parse(qwen).windows).toBeUndefined();
    expect(parse({ ...qwen, use_sliding_window: true }).windows).toEqual([0, 64, 64]);
    const types = ["sliding_attention", "full_attention", "sliding_attention"];
    expect(parse({ ...qwen, use_sliding_window: true, layer_types: types }).windows).toEqual([64, 0, 64]);
    expect(() => parse({ ...qwen, layer_types: types })).toThrow("layer_types is");
    expect(() => parse({ ...qwen, layer_types: ["full_attention"] })).toThrow("it must be a list of 3");
    expect(() => parse({ ...qwen, layer_types: ["a", "b", "c"] })).toThrow("supported: full_attention");
  });
});

describe("a configuration that cannot be used", () => {
  it.each([
    [
      { ...llama, model_type: "mamba" },
      'model_type is "mamba"; supported: llama, mistral, qwen2, qwen3, phi3, gemma, gpt_neox',
    ],
    [{ ...llama, model_type: "toString" }, 'model_type is "toString"'],
    [{ hidden_size: 3 }, "model_type is missing"],
  ])("names the architecture", (config, message) => {
    expect(() => parse(config)).toThrow(`m/config.json: ${message}`);
    expect(() => parse(config)).toThrow(expect.objectContaining({ code: "unsupported_architecture" }));
  });

  it.each([
    ["hidden_act", { hidden_act: "relu2" }, 'hidden_act is "relu2"; supported: silu, swish'],
    ["a missing size", { num_hidden_layers: undefined }, "num_hidden_layers is missing"],
    ["a size of 0", { vocab_size: 0 }, "vocab_size is 0"],
    ["a size that is text", { hidden_size: "64" }, 'hidden_size is "64"'],
    ["a fraction of layers", { num_hidden_layers: 1.5 }, "num_hidden_layers is 1.5"],
    [
      "KV heads that do not divide heads",
      { num_key_value_heads: 3 },
      "num_key_value_heads is 3; it must divide num_attention_heads = 8",
    ],
    [
      "heads that do not divide the hidden size",
      { num_attention_heads: 6 },
      "hidden_size is 64; it must be a multiple of num_attention_heads = 6",
    ],
    ["an odd rotary size", { head_dim: 7 }, "a rotary factor of 1 rotates 7 of a head's 7 components"],
    ["rope of another type", { rope_scaling: { type: "su", factor: 2 } }, 'rope_scaling: type is "su"'],
    [
      "longrope with factors of another number",
      { rope_scaling: { type: "su", short_factor: [1], long_factor: [1] } },
      "rope_scaling: short_factor is [1]; it must be a list of 4 numbers",
    ],
    ["experts", { num_local_experts: 8 }, "num_local_experts is 8; mixtures of experts are not supported"],
    ["a soft cap", { final_logit_softcapping: 30 }, "final_logit_softcapping is 30; soft caps on logits"],
    ["rope without its factor", { rope_scaling: { rope_type: "linear" } }, "rope_scaling: factor is missing"],
    ["rope that is no object", { rope_scaling: [1] }, "rope_scaling is [1]"],
    ["a negative theta", { rope_theta: -1 }, "rope_theta is -1"],
    ["a tied flag that is text", { tie_word_embeddings: "yes" }, 'tie_word_embeddings is "yes"'],
    ["an end token that is text", { eos_token_id: "</s>" }, 'eos_token_id is "</s>"'],
  ])("names the field and value: %s", (_, change, message) => {
    const config = { ...llama, ...change };
    expect(() => parse(config)).toThrow(ModelError);
    expect(() => parse(config)).toThrow(`m/config.json: ${message}`);
    expect(() => parse(config)).toThrow(expect.objectContaining({ code: "unsupported_config" }));
  });

  it("names generation_config.json too", () => {
    expect(() => parse(llama, { eos_token_id: -1 })).toThrow("generation_config.json: eos_token_id is -1");
  });
});
