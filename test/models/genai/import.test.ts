import { cpSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../../attention/root.ts";
import { formatInspection, inspectModel } from "../../../models/inspect.ts";
import { loadModel } from "../../../models/load.ts";
import { graphOf, readModel } from "../../../models/onnx/proto.ts";
import { preparedLogits } from "../../../models/onnx/self-check.ts";
import { ropeFrequencies } from "../../../models/rope.ts";
import type { ModelConfig } from "../../../models/types.ts";
import { removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

const genaiFolder = join(packageRoot(), "test/golden/genai");
const variants = readdirSync(genaiFolder);

/** A copy that a prepared graph can lie beside. */
function copyOf(variant: string): string {
  const folder = join(temporaryFolder(), variant);
  cpSync(join(genaiFolder, variant), folder, { recursive: true });
  return folder;
}

/** [tokens, vocab] */
function logitsOf(variant: string, file: string): Float32Array {
  return new Float32Array(new Uint8Array(readFileSync(join(genaiFolder, variant, file))).buffer);
}

function goldenOf(variant: string): { prompt: number[]; precision: string } {
  return JSON.parse(readFileSync(join(genaiFolder, variant, "golden.json"), "utf8"));
}

/** The difference from the golden logits, its largest and its root mean square, relative to their root mean square. */
async function difference(
  graphPath: string,
  config: ModelConfig,
  ids: readonly number[],
  expected: Float32Array,
): Promise<{ largest: number; usual: number }> {
  const actual = await preparedLogits(graphPath, ids, config);
  expect(actual.length).toBe(expected.length);
  const size = (values: Float32Array) =>
    Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  const differences = actual.map((value, i) => Math.abs(value - expected[i]!));
  const largest = differences.reduce((most, value) => Math.max(most, value), 0);
  return { largest: largest / size(expected), usual: size(differences) / size(expected) };
}

describe.each(variants)("the builder's %s", (variant) => {
  it("has the original's logits", async () => {
    const { graphPath, config, report, tokenizer } = await loadModel(copyOf(variant));
    const { prompt, precision } = goldenOf(variant);
    const found = await difference(graphPath, config, prompt, logitsOf(variant, "logits.bin"));
    // Eight bits of each activation are what this builder's quantised products go by, and their rounding is a machine's own.
    if (precision === "int4") expect(found.usual).toBeLessThan(5e-2);
    else expect(found.largest).toBeLessThan(3e-5);
    expect(report.attentions.map(({ layer }) => layer)).toEqual(config.layers === 1 ? [0] : [0, 1]);
    expect(report.selfCheck).not.toBeNull();
    expect(tokenizer.chatTemplate).toContain("messages");
    const types = graphOf(readModel(graphPath)).node.map(({ opType }) => opType);
    expect(types.filter((type) => type === "PagedAttention")).toHaveLength(config.layers);
    const old = ["GroupQueryAttention", "MultiHeadAttention", "RotaryEmbedding", "If"];
    expect(types.filter((type) => old.includes(type))).toEqual([]);
  });
});

describe("what genai_config.json does not say", () => {
  it("is read from the graph, rope's frequencies to the last bit", async () => {
    const { config } = await loadModel(copyOf("llama-fp32"));
    expect(config).toMatchObject({
      modelType: "llama",
      rotaryDim: 16,
      ropeScale: 1,
      intermediateSize: 40,
      tiedHead: false,
      maxPositions: 128,
      eosTokenIds: [1, 2],
    });
    expect(config.normEps).toBeCloseTo(1e-6, 12);
    expect(config.inverseFrequencies).toEqual(ropeFrequencies(500_000, 16, { type: "default" }).inverseFrequencies);
    expect((await loadModel(copyOf("gemma-fp32"))).config.tiedHead).toBe(true);
    expect((await loadModel(copyOf("qwen2-int4-tied"))).config.tiedHead).toBe(true);
  });

  it("is not about sampling, which search has", async () => {
    const { config } = await loadModel(copyOf("llama-fp32"));
    expect(config.sampling).toEqual({ temperature: 0.6, topP: 0.9, topK: 50, repetitionPenalty: 1 });
    expect((await loadModel(copyOf("llama-int4"))).config.sampling).toBeUndefined();
  });

  it("is kept with the prepared graph", async () => {
    const folder = copyOf("qwen3-fp32");
    const first = await loadModel(folder);
    const again = await loadModel(folder);
    expect(again.cached).toBe(true);
    expect(again.config).toEqual(first.config);
    expect(first.report.attentions[0]!.pattern).toContain("norms of heads");
  });

  it("is described to people", async () => {
    const text = formatInspection(await inspectModel(copyOf("qwen2-fp32-windows")));
    expect(text).toContain("window of 24");
    expect(text).toContain("qwen2, own output matrix, chat template");
    expect(text).toContain("feed-forward 40");
  });
});

describe("rope on neighbours and windows", () => {
  it("come from the graph's attributes", async () => {
    const { report: ernie } = await loadModel(copyOf("ernie-fp32"));
    for (const { pattern } of ernie.attentions) expect(pattern).toContain("rope on neighbours");
    const { report: qwen2 } = await loadModel(copyOf("qwen2-fp32-windows"));
    expect(qwen2.attentions.map(({ pattern }) => /window of \d+/.exec(pattern)?.[0])).toEqual([
      undefined,
      "window of 24",
    ]);
    const { report: mistral } = await loadModel(copyOf("mistral-int4-window"));
    expect(mistral.attentions.map(({ pattern }) => /window of \d+/.exec(pattern)?.[0])).toEqual([
      "window of 24",
      "window of 24",
    ]);
  });
});

describe("operators apart", () => {
  it.each([
    ["llama-fp32-multihead", "separate projections; MultiHeadAttention", 16],
    ["phi3-fp32-partial", "separate projections; MultiHeadAttention", 8],
    ["qwen3-fp32-rotary", "queries then keys then values, norms of heads; GroupQueryAttention", 16],
  ])("are one attention in %s", async (variant, pattern, rotaryDim) => {
    const { config, report } = await loadModel(copyOf(variant));
    expect(report.attentions[0]!.pattern).toContain(pattern);
    expect(config).toMatchObject({ rotaryDim, kvHeads: variant.startsWith("qwen3") ? 1 : 2 });
    expect(report.removedInputs).toContain("position_ids");
  });
});

/** As the generator made them. */
const factorsOf = (first: number, step: number) => Array.from({ length: 8 }, (_, i) => first + step * i);

describe("LongRoPE", () => {
  const variant = "phi3-fp32-longrope";

  it("takes the short factors where no text is longer than the original context", async () => {
    const { graphPath, config } = await loadModel(copyOf(variant), { maxContext: 32 });
    expect(config.maxPositions).toBe(32);
    const factors = { shortFactors: factorsOf(1, 0.1), longFactors: factorsOf(1.5, 0.5) };
    const scaling = { type: "longrope", factor: 4, originalMaxPositions: 32, ...factors } as const;
    const { inverseFrequencies, ropeScale } = ropeFrequencies(10_000, 16, scaling, 32);
    expect(config.inverseFrequencies).toEqual(inverseFrequencies);
    expect(config.ropeScale).toBeCloseTo(ropeScale, 6);
    const { prompt } = goldenOf(variant);
    const expected = logitsOf(variant, "logits-30.bin");
    expect((await difference(graphPath, config, prompt.slice(0, 30), expected)).largest).toBeLessThan(3e-5);
  });

  it("keeps a graph only for the contexts that it is for", async () => {
    const folder = copyOf(variant);
    const long = await loadModel(folder);
    expect((await loadModel(folder, { maxContext: 33 })).cached).toBe(true);
    const short = await loadModel(folder, { maxContext: 32 });
    expect(short.cached).toBe(false);
    expect(short.config.inverseFrequencies).not.toEqual(long.config.inverseFrequencies);
    expect((await loadModel(folder, { maxContext: 20 })).cached).toBe(true);
    expect((await loadModel(folder)).cached).toBe(false);
  });
});
