import type { Flow, Projection } from "./flow.ts";
import { intAttribute } from "./graph.ts";
import type { NodeProto } from "./messages.ts";

/** Operators that scale the rows of their first input by a norm of each, over its last dimension. */
const normOps = new Set(["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"]);

/** What may lie between a projection and the norm of its heads. */
const rearrangingOps = new Set(["Identity", "Cast", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Slice", "Split"]);

/** A norm of queries or keys, of each head or of all together: in the graph it stays, and the attention begins behind it. */
export interface HeadNorm {
  readonly tensor: string;
  /** What the norm reads, as large as what it makes. */
  readonly normed: string;
}

/** Where an attention gets queries, keys or values from. */
export type Operand = Projection | HeadNorm;

export function isHeadNorm(operand: Operand): operand is HeadNorm {
  return "normed" in operand;
}

/** The norm that makes a tensor, if it is one of a projection's rearranged elements, with constant weights. */
export function headNorm(flow: Flow, tensor: string): HeadNorm | undefined {
  const node = flow.graph.producer(tensor);
  if (!node || !normOps.has(node.opType) || node.output[0] !== tensor) return undefined;
  const [normed = "", ...weights] = node.input;
  // Over the last dimension alone, so that no token has a part in another's norm.
  if (intAttribute(node, "axis", -1) !== -1 || !weights.every((name) => name === "" || flow.graph.isConstant(name))) {
    return undefined;
  }
  return comesFromProjection(flow, normed) ? { tensor, normed } : undefined;
}

function comesFromProjection(flow: Flow, start: string): boolean {
  for (let tensor = start; ; ) {
    if (flow.projection(tensor)) return true;
    const node: NodeProto | undefined = flow.graph.producer(tensor);
    const content = node ? flow.contentInputs(node) : [];
    if (!node || !rearrangingOps.has(node.opType) || content.length !== 1) return false;
    tensor = content[0]!;
  }
}
