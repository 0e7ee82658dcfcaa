import { ModelError } from "../errors.ts";
import { attribute, describeNode } from "./graph.ts";
import { DimensionMessage, type ModelProto, type NodeProto } from "./messages.ts";
import { graphOf } from "./proto.ts";

/** The input of Optimum's merged decoders that says which of two graphs runs: the one for a prompt, or the one behind a cache. */
export const CACHE_BRANCH = "use_cache_branch";

/**
 * Puts the graph that runs behind a cache in the place of the If that chooses: Optimum's `decoder_model_merged.onnx` as
 * `decoder_with_past_model.onnx`. That graph was traced with one new token, and says nothing of more.
 * @returns whether the model was a merged one, and was changed
 * @throws ModelError "unsupported_graph" naming what is no such If
 */
export function takeCacheBranch(model: ModelProto): boolean {
  const graph = graphOf(model);
  if (!graph.input.some(({ name }) => name === CACHE_BRANCH)) return false;
  const readers = graph.node.filter(({ input }) => input.includes(CACHE_BRANCH));
  const [choice] = readers;
  const branch = choice && attribute(choice, "then_branch")?.g;
  if (choice?.opType !== "If" || !branch || readers.length > 1 || branch.output.length !== choice.output.length) {
    const place = readers.map((node) => describeNode(node)).join(", ") || "no node";
    throw new ModelError("unsupported_graph", `the input "${CACHE_BRANCH}" is read by ${place}, not by one If alone`);
  }
  const names = new Map(branch.output.map(({ name }, index) => [name, choice.output[index]!]));
  const renamed = (name: string) => names.get(name) ?? name;
  for (const node of branch.node) {
    node.input = node.input.map(renamed);
    node.output = node.output.map(renamed);
  }
  refuseClashes(graph.node, branch.node, choice);
  graph.node.splice(graph.node.indexOf(choice), 1, ...branch.node);
  graph.initializer.push(...branch.initializer);
  graph.input = graph.input.filter(({ name }) => name !== CACHE_BRANCH);
  const ids = graph.input.find(({ name }) => name === "input_ids");
  const dims = ids?.type?.tensorType?.shape?.dim;
  if (dims?.length === 2) dims[1] = DimensionMessage.create({ dimValue: 1 });
  return true;
}

/** A branch may use names for tensors of its own that mean others outside. */
function refuseClashes(outer: readonly NodeProto[], inner: readonly NodeProto[], choice: NodeProto): void {
  const made = new Set(outer.filter((node) => node !== choice).flatMap(({ output }) => output));
  const clash = inner.flatMap(({ output }) => output).find((name) => made.has(name));
  if (clash !== undefined) {
    throw new ModelError("unsupported_graph", `${describeNode(choice)}: "${clash}" is made inside and outside of it`);
  }
}
