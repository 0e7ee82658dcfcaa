import { type Graph, intAttribute } from "./graph.ts";
import type { NodeProto, ValueInfoProto } from "./messages.ts";

/**
 * Makes what reads the number of sequences or of new tokens from the shape of another input read it from input_ids. Exporters
 * take such a number from any input that has it, also outside of the attentions, and only input_ids stays.
 */
export function readShapesFromIds(graph: Graph): void {
  const ids = graph.proto.input.find(({ name }) => name === "input_ids");
  if (!ids || rankOf(ids) !== 2) return;
  for (const input of graph.proto.input) {
    // A list of positions, cache_position, has no axis for sequences.
    if (input === ids || (rankOf(input) ?? 0) < 2) continue;
    const sameShape = input.name === "position_ids" && rankOf(input) === 2;
    for (const node of graph.consumers(input.name)) {
      if (node.opType === "Shape" && (sameShape || readsBatchOnly(graph, node))) {
        graph.replaceUses(input.name, ids.name, [node]);
      }
    }
  }
}

function rankOf({ type }: ValueInfoProto): number | undefined {
  return type?.tensorType?.shape?.dim.length;
}

function readsBatchOnly(graph: Graph, shape: NodeProto): boolean {
  if (intAttribute(shape, "start", 0) !== 0) return false;
  if (intAttribute(shape, "end", 0) === 1) return true;
  const readers = graph.consumers(shape.output[0]!);
  const first = ({ opType, input }: NodeProto) =>
    opType === "Gather" && graph.integers(input[1]!)?.every((index) => index === 0);
  return readers.length > 0 && readers.every(first);
}
