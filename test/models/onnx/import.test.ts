import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FORMAT_VERSION } from "../../../models/cache.ts";
import { attribute, Graph, intAttribute } from "../../../models/onnx/graph.ts";
import {
  graphOf,
  type NodeProto,
  readModel,
  tensorShape,
  tensorToFloat32,
  toNumber,
} from "../../../models/onnx/proto.ts";
import { preparedLogits } from "../../../models/onnx/self-check.ts";
import type { ImportReport, ModelConfig } from "../../../models/types.ts";
import {
  builtinFolder,
  exportsFolder,
  importFolder,
  readGolden,
  reconfiguredExport,
  removeTemporaryFolders,
  variants,
} from "../exports.ts";

removeTemporaryFolders();

function attentionsOf(graph: Graph): NodeProto[] {
  return graph.nodes.filter(({ domain, opType }) => domain === "sparq" && opType === "PagedAttention");
}

function integersOf(node: NodeProto): Record<string, number> {
  const integers = node.attribute.filter(({ type }) => type === 2);
  return Object.fromEntries(integers.map(({ name, i }) => [name, toNumber(i)]));
}

/** What every canonical graph must be. */
function expectCanonical(graph: Graph, config: ModelConfig): void {
  expect(graph.inputs).toEqual(["input_ids", "logit_rows"]);
  expect(graph.proto.output.map(({ name }) => name)).toEqual(["logits"]);
  const opsets = graph.model.opsetImport.map(({ domain, version }) => [domain, toNumber(version)] as const);
  expect(Object.fromEntries(opsets)).toMatchObject({ sparq: 1 });
  expect(graph.model.metadataProps).toContainEqual({
    key: "sparq.format_version",
    value: String(FORMAT_VERSION),
  });
  const attentions = attentionsOf(graph);
  expect(attentions.map((node) => intAttribute(node, "layer", -1))).toEqual(
    Array.from({ length: config.layers }, (_, i) => i),
  );
  for (const node of attentions) {
    expect(integersOf(node)).toMatchObject({
      num_heads: config.heads,
      num_kv_heads: config.kvHeads,
      head_dim: config.headDim,
      rotary_dim: config.rotaryDim,
      rope_interleaved: 0,
      window: 0,
    });
    expect(attribute(node, "scale")!.f).toBe(Math.fround(1 / Math.sqrt(config.headDim)));
    const frequencies = graph.initializers.get(node.input[3]!)!;
    expect(tensorShape(frequencies)).toEqual([config.rotaryDim / 2]);
    for (const [i, value] of tensorToFloat32(frequencies).entries()) {
      // Exact but for exports that went through float16.
      expect(Math.abs(value / config.inverseFrequencies[i]! - 1)).toBeLessThan(1e-3);
    }
  }
  // Nothing of the old attention, and no weights without a reader.
  expect(graph.nodes.map(({ opType }) => opType)).not.toContain("Softmax");
  for (const name of graph.initializers.keys()) expect(graph.consumers(name)).not.toEqual([]);
  // Logits are computed for gathered rows: the gather lies before the final norm, the first thing after the last layer.
  const [gather] = graph.consumers("logit_rows");
  expect(graph.nodes.indexOf(gather!)).toBeGreaterThan(graph.nodes.indexOf(attentions.at(-1)!));
  expect(graph.producer(gather!.input[0]!)!.opType).toBe("Add");
}

function expectReport(report: ImportReport, config: ModelConfig): void {
  expect(report.attentions.map(({ layer }) => layer)).toEqual(Array.from({ length: config.layers }, (_, i) => i));
  expect(report.nodesAfter).toBeLessThan(report.nodesBefore);
  expect(report.removedInputs).not.toContain("input_ids");
  expect(report.removedOutputs).not.toContain("logits");
  // Logits of a few units, computed in float32.
  expect(report.selfCheck).toBeLessThan(1e-4);
}

describe.each(variants)("the export %s", (variant) => {
  const folder = join(exportsFolder, variant);

  it("becomes a canonical graph with torch's logits", async () => {
    const { report, graphPath, config } = await importFolder(folder);
    expectReport(report, config);
    expectCanonical(new Graph(readModel(graphPath)), config);
    const { prompt, logits } = readGolden(folder);
    const actual = await preparedLogits(graphPath, prompt, config);
    expect(actual.length).toBe(logits.length);
    const worst = actual.reduce((largest, value, i) => Math.max(largest, Math.abs(value - logits[i]!)), 0);
    expect(worst).toBeLessThan(1e-4);
  });
});

describe.each(["tiny-llama", "tiny-pythia"])("the built-in %s", (name) => {
  it("becomes a canonical graph, its weights still in float16", async () => {
    const { report, graphPath, config } = await importFolder(join(builtinFolder, name));
    expectReport(report, config);
    const graph = new Graph(readModel(graphPath));
    expectCanonical(graph, config);
    expect(report.weights).toBe("f16");
    const half = graph.nodes.filter(({ opType }) => opType === "DenseLinear");
    expect(half.length).toBeGreaterThan(2 * config.layers);
    for (const node of half) expect(intAttribute(node, "dtype", 0)).toBe(1);
    // The table of embeddings is the output layer too, or has one of its own.
    expect(graph.nodes.filter(({ opType }) => opType === "DenseEmbedding")).toHaveLength(1);
    expect(report.parameters).toBeGreaterThan(1_000_000);
    expect(report.weightBytes).toBeLessThan(2.1 * report.parameters);
  });
});

describe("layouts", () => {
  it("takes separate projections of a llama as they are", async () => {
    const { graphPath, config } = await importFolder(join(exportsFolder, "llama-dynamo-sdpa-18"));
    const [node] = attentionsOf(new Graph(readModel(graphPath)));
    expect(new Set(node!.input.slice(0, 3)).size).toBe(3);
    const d = config.headDim;
    expect(integersOf(node!)).toMatchObject({
      q_offset: 0,
      k_offset: 0,
      v_offset: 0,
      q_head_stride: d,
      k_head_stride: d,
    });
  });

  it("finds NeoX's queries, keys and values head by head in one tensor", async () => {
    const { graphPath, config } = await importFolder(join(exportsFolder, "neox-dynamo-sdpa-18"));
    const [node] = attentionsOf(new Graph(readModel(graphPath)));
    expect(new Set(node!.input.slice(0, 3)).size).toBe(1);
    const d = config.headDim;
    expect(integersOf(node!)).toMatchObject({ q_offset: 0, k_offset: d, v_offset: 2 * d, v_head_stride: 3 * d });
  });

  it("keeps a bias with its projection", async () => {
    const { graphPath } = await importFolder(join(exportsFolder, "llama-dynamo-sdpa-18-bias"));
    const graph = new Graph(readModel(graphPath));
    for (const name of attentionsOf(graph)[0]!.input.slice(0, 3)) expect(graph.producer(name)!.opType).toBe("Add");
  });

  it("removes every input and output that a decoder step of ours does not have", async () => {
    const { report } = await importFolder(join(exportsFolder, "llama-script-eager-17"));
    const cache = (part: string) => [0, 1].flatMap((i) => ["key", "value"].map((kind) => `${part}.${i}.${kind}`));
    expect(report.removedInputs).toEqual(["attention_mask", "position_ids", ...cache("past_key_values")]);
    expect(report.removedOutputs).toEqual(cache("present"));
  });
});

describe("frequencies of the configuration", () => {
  it("may differ from the graph's by rounding, and the graph's are taken", async () => {
    // A theta off by one part in a million: within float16, not within float32.
    const folder = reconfiguredExport("llama-dynamo-sdpa-18", {
      rope_parameters: { rope_type: "default", rope_theta: 10_000.01 },
    });
    const { graphPath } = await importFolder(folder);
    const [tensor] = graphOf(readModel(graphPath)).initializer.filter(
      ({ name }) => name === "sparq.inverse_frequencies",
    );
    expect(tensorToFloat32(tensor!)[1]).toBe(Math.fround(10_000 ** -0.25));
  });
});
