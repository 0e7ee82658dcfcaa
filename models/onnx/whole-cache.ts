import { attribute } from "./graph.ts";
import type { ModelProto } from "./messages.ts";
import { graphOf } from "./proto.ts";

/** GroupQueryAttention's sign that its caller keeps no more of a window's keys than the window. */
const RING = "sliding_window_cache";

/**
 * Lets every GroupQueryAttention take its cache whole. How much of it the caller keeps is no part of what an attention
 * with a window computes, and versions of ONNX Runtime that do not know the attribute refuse the graph for it.
 * @returns whether the model was changed
 */
export function takeWholeCaches(model: ModelProto): boolean {
  const rings = graphOf(model).node.filter((node) => node.opType === "GroupQueryAttention" && attribute(node, RING));
  for (const node of rings) node.attribute = node.attribute.filter(({ name }) => name !== RING);
  return rings.length > 0;
}
