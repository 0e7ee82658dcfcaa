import { InferenceSession } from "onnxruntime-node";
import { ModelError, messageOf } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import { makeNode, makeValueInfo } from "./build.ts";
import { decoderFeed } from "./feeds.ts";
import { attribute, describeNode } from "./graph.ts";
import { DataType, GraphMessage, type GraphProto, ModelMessage, type ModelProto, type NodeProto } from "./messages.ts";
import { encodeModel, graphOf } from "./proto.ts";
import { tensorToNumbers } from "./tensor.ts";

/** Contexts, in tokens, for which a graph now computes what it did before: more than, at most. */
export type ContextRange = readonly [number, number];

/**
 * Graphs for LongRoPE choose rope's tables by how long the text is at the moment: `If(total > 4096)`. One set has to hold for
 * all texts of a server (keys are shared and kept), so the choice is made here, by the longest one: each such If
 * becomes the constants of one branch. That its condition is about the length alone is shown by running it.
 * @param longest the longest context that will be served
 * @returns undefined if there is nothing to choose
 * @throws ModelError "unsupported_graph" naming an If that is none of this kind
 */
export async function chooseBranches(
  model: ModelProto,
  config: Pick<ModelConfig, "kvHeads" | "headDim">,
  longest: number,
): Promise<ContextRange | undefined> {
  const graph = graphOf(model);
  let range: ContextRange | undefined;
  for (const node of graph.node.filter(({ opType, domain }) => opType === "If" && domain === "")) {
    const limit = limitOf(graph, node);
    await proveLimit(model, node, limit, config);
    const long = longest > limit;
    const branch = attribute(node, long ? "then_branch" : "else_branch")!.g!;
    const renamed = new Map(branch.output.map(({ name }, index) => [name, node.output[index]!]));
    const constants = branch.node.map((constant) =>
      makeNode("Constant", [], [renamed.get(constant.output[0]!)!], {
        value: { tensor: attribute(constant, "value")!.t! },
      }),
    );
    graph.node.splice(graph.node.indexOf(node), 1, ...constants);
    range = long
      ? [Math.max(limit, range?.[0] ?? 0), range?.[1] ?? Number.MAX_SAFE_INTEGER]
      : [range?.[0] ?? 0, Math.min(limit, range?.[1] ?? limit)];
  }
  return range;
}

/** L of an If(x > L) whose branches are constants. */
function limitOf(graph: GraphProto, node: NodeProto): number {
  const refuse = (reason: string): never => {
    throw new ModelError("unsupported_graph", `${describeNode(node)} has graphs inside it, and ${reason}`);
  };
  for (const name of ["then_branch", "else_branch"]) {
    const branch = attribute(node, name)?.g;
    const outputs = new Set(branch?.output.map((output) => output.name));
    const plain = branch?.node.every(
      (inner) => inner.opType === "Constant" && attribute(inner, "value")?.t && outputs.has(inner.output[0]!),
    );
    if (!branch || !plain || branch.node.length !== node.output.length) refuse(`its ${name} is not made of constants`);
  }
  const greater = graph.node.find(({ output }) => output.includes(node.input[0]!));
  const limit = greater?.opType === "Greater" ? constantInteger(graph, greater.input[1]!) : undefined;
  if (limit === undefined || limit < 1) refuse("its condition is no comparison with a constant length");
  return limit!;
}

function constantInteger(graph: GraphProto, name: string): number | undefined {
  const producer = graph.node.find(({ output, opType }) => opType === "Constant" && output.includes(name));
  const tensor =
    graph.initializer.find((initializer) => initializer.name === name) ?? (producer && attribute(producer, "value")?.t);
  if (!tensor || (tensor.dataType !== DataType.INT64 && tensor.dataType !== DataType.INT32)) return undefined;
  const values = tensorToNumbers(tensor);
  return values.length === 1 ? values[0] : undefined;
}

/** Runs the condition on texts of `limit` tokens and of one more, all new or one new: false, then true. */
async function proveLimit(
  model: ModelProto,
  node: NodeProto,
  limit: number,
  config: Pick<ModelConfig, "kvHeads" | "headDim">,
): Promise<void> {
  const graph = graphOf(model);
  const condition = node.input[0]!;
  const needed = new Set([condition]);
  const nodes = [...graph.node].reverse().filter((member) => {
    const wanted = member.output.some((name) => needed.has(name));
    if (wanted) for (const name of member.input) needed.add(name);
    return wanted;
  });
  const inputs = graph.input.filter(({ name }) => needed.has(name));
  const cut = ModelMessage.create({
    irVersion: model.irVersion,
    opsetImport: model.opsetImport,
    graph: GraphMessage.create({
      name: "condition",
      node: nodes.reverse(),
      initializer: graph.initializer.filter(({ name }) => needed.has(name)),
      input: inputs,
      output: [makeValueInfo(condition, DataType.BOOL, [])],
    }),
  });
  const fail = (reason: string): never => {
    throw new ModelError("unsupported_graph", `${describeNode(node)} has graphs inside it, and ${reason}`);
  };
  try {
    const session = await InferenceSession.create(encodeModel(cut), { intraOpNumThreads: 1, logSeverityLevel: 3 });
    try {
      for (const total of [1, limit, limit + 1, 2 * limit]) {
        for (const tokens of new Set([1, total])) {
          const shape = { tokens, past: total - tokens };
          const ids = new Array<number>(tokens).fill(0);
          const feeds = inputs.map((value) => [
            value.name,
            decoderFeed(value, shape, config, ids, (_, size) => new Float32Array(size)),
          ]);
          const found = Boolean((await session.run(Object.fromEntries(feeds)))[condition]!.data[0]);
          if (found !== total > limit) fail(`its condition is ${found} on ${total} tokens, not ${total > limit}`);
        }
      }
    } finally {
      await session.release();
    }
  } catch (error) {
    if (error instanceof ModelError) throw error;
    fail(`its condition cannot be run: ${messageOf(error)}`);
  }
}
