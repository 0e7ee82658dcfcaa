import { ModelError } from "../errors.ts";
import { describeNode } from "./graph.ts";
import type { GraphProto, NodeProto } from "./messages.ts";

/**
 * Puts a graph's nodes into an order in which each comes after those it reads from, in place and otherwise as they were: tools
 * that add Casts append them.
 * @throws ModelError "unsupported_graph" naming a node that depends on its own result
 */
export function sortNodes(graph: GraphProto): void {
  const producers = new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const)));
  const ordered: NodeProto[] = [];
  const state = new Map<NodeProto, "open" | "done">();
  for (const start of graph.node) {
    const pending = [start];
    for (let node = pending.at(-1); node !== undefined; node = pending.at(-1)) {
      if (state.get(node) === "done") {
        pending.pop();
        continue;
      }
      const missing = node.input.flatMap((name) => {
        const producer = name === "" ? undefined : producers.get(name);
        return producer && state.get(producer) !== "done" ? [producer] : [];
      });
      if (missing.length === 0) {
        state.set(node, "done");
        ordered.push(node);
        pending.pop();
        continue;
      }
      // Whoever is open waits for what follows it among the pending.
      if (state.get(node) === "open") {
        throw new ModelError("unsupported_graph", `${describeNode(node)} depends on its own result`);
      }
      state.set(node, "open");
      pending.push(...missing);
    }
  }
  graph.node = ordered;
}
