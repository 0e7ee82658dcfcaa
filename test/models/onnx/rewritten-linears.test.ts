import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Graph, intAttribute } from "../../../models/onnx/graph.ts";
import {
  DataType,
  floatTensor,
  type GraphProto,
  int64Tensor,
  makeNode,
  type NodeProto,
  OperatorSetIdMessage,
  rawTensor,
  readModel,
  tensorShape,
  tensorToFloat32,
  writeModel,
} from "../../../models/onnx/proto.ts";
import { editedExport, importFolder, removeTemporaryFolders } from "../exports.ts";

removeTemporaryFolders();

interface Linear {
  readonly node: NodeProto;
  readonly inputs: number;
  readonly outputs: number;
  /** [inputs, outputs] */
  readonly weight: Float32Array;
}

/** Every product with a stored weight. */
function linears(graph: GraphProto): Linear[] {
  const weights = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
  return graph.node.flatMap((node) => {
    const tensor = node.opType === "MatMul" ? weights.get(node.input[1]!) : undefined;
    if (tensor?.dims.length !== 2) return [];
    const [inputs, outputs] = tensorShape(tensor) as [number, number];
    return [{ node, inputs, outputs, weight: tensorToFloat32(tensor) }];
  });
}

const BLOCK = 32;

/** The linear as com.microsoft.MatMulNBits: 4 bits, blocks of 32 inputs, a scale for each, zero at 8. */
function quantise(graph: GraphProto, { node, inputs, outputs, weight }: Linear): void {
  const blocks = Math.ceil(inputs / BLOCK);
  const packed = new Uint8Array(outputs * blocks * (BLOCK / 2)).fill(0x88);
  const scales = new Float32Array(outputs * blocks);
  for (let n = 0; n < outputs; n++) {
    for (let block = 0; block < blocks; block++) {
      const rows = Array.from({ length: Math.min(BLOCK, inputs - block * BLOCK) }, (_, i) => block * BLOCK + i);
      const scale = Math.max(...rows.map((k) => Math.abs(weight[k * outputs + n]!))) / 7;
      scales[n * blocks + block] = scale;
      for (const [i, k] of rows.entries()) {
        const level = 8 + Math.round(weight[k * outputs + n]! / scale);
        const byte = (n * blocks + block) * (BLOCK / 2) + (i >> 1);
        packed[byte] = i % 2 === 0 ? (packed[byte]! & 0xf0) | level : (packed[byte]! & 0x0f) | (level << 4);
      }
    }
  }
  const name = node.input[1]!;
  graph.initializer.push(
    rawTensor(`${name}_q4`, DataType.UINT8, [outputs, blocks, BLOCK / 2], packed),
    floatTensor(`${name}_scales`, [outputs, blocks], scales),
  );
  const attributes = { K: inputs, N: outputs, bits: 4, block_size: BLOCK };
  const inputsOfNode = [node.input[0]!, `${name}_q4`, `${name}_scales`];
  const product = makeNode("MatMulNBits", inputsOfNode, node.output, attributes, { domain: "com.microsoft" });
  graph.node.splice(graph.node.indexOf(node), 1, product);
}

/** The linear as GPT-2's Conv1D exports it: rows flattened, Gemm with the bias inside, and the batch put back. */
function flatten(graph: GraphProto, { node, inputs, outputs }: Linear): void {
  const biases = new Set(graph.initializer.map(({ name }) => name));
  const [product] = node.output as [string];
  const add = graph.node.find(({ opType, input }) => {
    return opType === "Add" && input.includes(product) && input.some((name) => biases.has(name));
  });
  const bias = add?.input.filter((name) => name !== product) ?? [];
  const output = add?.output[0] ?? product;
  graph.initializer.push(
    int64Tensor(`${output}_flat`, [2], [-1, inputs]),
    int64Tensor(`${output}_full`, [3], [1, -1, outputs]),
  );
  if (add) graph.node.splice(graph.node.indexOf(add), 1);
  graph.node.splice(
    graph.node.indexOf(node),
    1,
    makeNode("Reshape", [node.input[0]!, `${output}_flat`], [`${output}_rows`]),
    makeNode("Gemm", [`${output}_rows`, node.input[1]!, ...bias], [`${output}_product`]),
    makeNode("Reshape", [`${output}_product`, `${output}_full`], [output]),
  );
}

describe.each(["llama-script-sdpa-14", "neox-dynamo-sdpa-18"])("%s with other linears", (variant) => {
  it("keeps quantised ones, MatMulNBits", async () => {
    const folder = editedExport(variant, (graph) => {
      for (const linear of linears(graph)) quantise(graph, linear);
    });
    const path = join(folder, "model.onnx");
    const model = readModel(path);
    model.opsetImport.push(OperatorSetIdMessage.create({ domain: "com.microsoft", version: 1 }));
    writeModel(path, model);
    const { report, graphPath } = await importFolder(folder);
    expect(report.selfCheck).toBeLessThan(1e-4);
    expect(report.weights).toContain("4-bit blocks of 32 (MatMulNBits)");
    const graph = new Graph(readModel(graphPath));
    const attention = graph.nodes.find(({ opType }) => opType === "PagedAttention")!;
    const sources = attention.input.slice(0, 3).map((name) => {
      const node = graph.producer(name)!;
      return node.opType === "Add" ? graph.producer(node.input.find((input) => !graph.isConstant(input))!)! : node;
    });
    for (const source of sources) expect(source.opType).toBe("MatMulNBits");
  });

  it("takes Gemm on flattened rows around the attention", async () => {
    const folder = editedExport(variant, (graph) => {
      // All but the head, whose logits keep their three dimensions.
      for (const linear of linears(graph).filter(({ outputs }) => outputs !== 56)) flatten(graph, linear);
    });
    const { report, graphPath } = await importFolder(folder);
    expect(report.selfCheck).toBeLessThan(1e-4);
    const graph = new Graph(readModel(graphPath));
    const attention = graph.nodes.find(({ opType }) => opType === "PagedAttention")!;
    const [reader] = graph.consumers(attention.output[0]!);
    const next = reader!.opType === "Reshape" ? graph.consumers(reader!.output[0]!)[0]! : reader!;
    expect(next.opType).toBe("Gemm");
    expect(intAttribute(next, "transB", 0)).toBe(0);
  });
});
