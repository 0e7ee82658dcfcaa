import { ModelError } from "../errors.ts";
import type { Flow } from "./flow.ts";
import { checkFused, type FusedOperands, fusedOperands, isFused } from "./fused.ts";
import { describeNode } from "./graph.ts";
import { headNorm, type Operand } from "./head-norm.ts";
import type { NodeProto } from "./messages.ts";

/** One attention as found in the graph, not yet understood: where it begins and ends. */
export interface FoundAttention {
  /** Counted from the input of the model. */
  readonly layer: number;
  /** The Softmax, or the operator that is a whole attention. */
  readonly core: NodeProto;
  /**
   * The projections that queries, keys and values come from; one and the same when they are fused. Where a norm of each
   * head lies between, its result: what is behind it is the attention.
   */
  readonly query: Operand;
  readonly key: Operand;
  readonly value: Operand;
  /** Inputs with cached keys and values; undefined in an export without a cache. */
  readonly pastKey: string | undefined;
  readonly pastValue: string | undefined;
  /** What the output projection reads: [batch, tokens, heads * head dim]. */
  readonly context: string;
  readonly outputProjection: NodeProto;
}

/** Rearranging of elements, and pass-through. */
const layoutOps = new Set([
  "Identity",
  "Cast",
  "Dropout",
  "Reshape",
  "Flatten",
  "Transpose",
  "Unsqueeze",
  "Squeeze",
  "Slice",
  "Split",
  "Concat",
  "Expand",
  "Tile",
  "Gather",
]);

/** What rope and scales are made of: linear in the activations as long as the other operand is none. */
export const linearOps: ReadonlySet<string> = new Set([
  ...layoutOps,
  "Neg",
  "Add",
  "Sub",
  "Mul",
  "Div",
  "RotaryEmbedding",
]);

/** Between the product of queries and keys and the softmax: scale and mask. */
const scoreOps = new Set([...layoutOps, "Add", "Sub", "Mul", "Div", "Where"]);

/** Between the softmax and the product with the values: rows that see nothing made 0 instead of NaN. */
const weightOps = new Set(["Identity", "Cast", "Dropout", "Reshape", "Unsqueeze", "Squeeze", "IsNaN", "Where"]);

/**
 * Finds every attention by following activations from each Softmax (or fused operator) back to the projections and
 * forward to the output projection. Names play no part.
 * @throws ModelError "attention_unproven", naming the node and layer, for anything in between that is not rearranging,
 *   rope, scale or mask; whether those are the right ones is proven by prove.ts
 */
export function findAttentions(flow: Flow): FoundAttention[] {
  return coresOf(flow).map((core, layer) => new Matcher(flow, core, layer).match());
}

/**
 * Nodes between projections and attentions that are neither rearranging nor rope nor scale, where an attention's whole query,
 * key or value comes from one: the first one on the way back.
 */
export function computedOperands(flow: Flow): NodeProto[] {
  return [...new Set(coresOf(flow).flatMap((core, layer) => new Matcher(flow, core, layer).computedOperands()))];
}

function coresOf(flow: Flow): NodeProto[] {
  return flow.graph.nodes.filter(
    (node) => isFused(node) || (node.opType === "Softmax" && flow.isContent(node.input[0]!)),
  );
}

class Matcher {
  readonly #flow: Flow;
  readonly #core: NodeProto;
  readonly #layer: number;

  constructor(flow: Flow, core: NodeProto, layer: number) {
    this.#flow = flow;
    this.#core = core;
    this.#layer = layer;
  }

  match(): FoundAttention {
    const { queries, keys, values, result } = this.#operands();
    const query = this.#trace("query", queries, false);
    const key = this.#trace("key", keys, true);
    const value = this.#trace("value", values, true);
    return {
      layer: this.#layer,
      core: this.#core,
      query: query.projection,
      key: key.projection,
      value: value.projection,
      pastKey: key.past,
      pastValue: value.past,
      ...this.#followResult(result),
    };
  }

  computedOperands(): NodeProto[] {
    const { queries, keys, values } = this.#operands();
    return [queries, keys, values].flatMap((starts) => {
      const found: NodeProto[] = [];
      let others = 0;
      this.#walkBack(starts, (_, node, projection) => {
        if (projection) others += 1;
        if (!node || projection) return false;
        const linear = this.#isLinear(node);
        if (!linear) found.push(node);
        return linear;
      });
      return found.length === 1 && others === 0 ? found : [];
    });
  }

  #fail(message: string): never {
    throw new ModelError("attention_unproven", `attention cannot be proven: layer ${this.#layer}, ${message}`);
  }

  #operands(): FusedOperands {
    if (!isFused(this.#core)) return this.#softmaxOperands();
    checkFused(this.#core, (message) => this.#fail(message));
    return fusedOperands(this.#core);
  }

  #softmaxOperands(): FusedOperands {
    const scores = this.#scoreProduct(this.#core.input[0]!);
    const product = this.#valueProduct();
    return {
      queries: [scores.input[0]!],
      keys: [scores.input[1]!],
      values: [product.input[1]!],
      result: product.output[0]!,
    };
  }

  /** From the softmax back through mask and scale to queries times keys. */
  #scoreProduct(start: string): NodeProto {
    for (let tensor = start; ; ) {
      const node = this.#flow.graph.producer(tensor);
      const content = node ? this.#flow.contentInputs(node) : [];
      if (node?.opType === "MatMul" && content.length === 2) return node;
      if (!node || !scoreOps.has(node.opType) || content.length !== 1) {
        this.#fail(
          `${node ? describeNode(node) : `the input "${tensor}"`} is between ${describeNode(this.#core)} and the product ` +
            "of queries and keys, and is neither scale nor mask",
        );
      }
      tensor = content[0]!;
    }
  }

  /** From the softmax forward to its one product with the values. */
  #valueProduct(): NodeProto {
    const products = new Set<NodeProto>();
    const seen = new Set<string>();
    const pending = [this.#core.output[0]!];
    for (let tensor = pending.pop(); tensor !== undefined; tensor = pending.pop()) {
      if (seen.has(tensor)) continue;
      seen.add(tensor);
      for (const node of this.#flow.graph.consumers(tensor)) {
        if (node.opType === "MatMul" && node.input[0] === tensor) products.add(node);
        else if (weightOps.has(node.opType)) pending.push(...node.output);
        else this.#fail(`${describeNode(node)} is between ${describeNode(this.#core)} and the product with the values`);
      }
    }
    const [product] = products;
    if (!product || products.size > 1) {
      this.#fail(`the result of ${describeNode(this.#core)} is multiplied with ${products.size} tensors, not 1`);
    }
    return product;
  }

  /** Back from an operand of the attention to the one projection, and the one cache input, that it comes from. */
  #trace(what: string, starts: readonly string[], cached: boolean): { projection: Operand; past: string | undefined } {
    const projections = new Map<string, Operand>();
    const past = new Set<string>();
    this.#walkBack(starts, (tensor, node, projection) => {
      if (projection) projections.set(tensor, projection);
      else if (!node) past.add(tensor);
      else this.#checkLinear(node, what);
      return !projection && node !== undefined;
    });
    const [projection] = projections.values();
    if (!projection || projections.size > 1) {
      const names = [...projections.keys()].map((name) => `"${name}"`).join(", ") || "none";
      this.#fail(
        `${describeNode(this.#core)}: its ${what} comes from ${projections.size} projections (${names}), not 1`,
      );
    }
    if (past.size > (cached ? 1 : 0)) {
      this.#fail(`${describeNode(this.#core)}: its ${what} reads the inputs ${[...past].join(", ")}`);
    }
    return { projection, past: [...past][0] };
  }

  /** Goes back along activations, to each tensor once; `visit` says whether to go on behind one. */
  #walkBack(
    starts: readonly string[],
    visit: (tensor: string, node: NodeProto | undefined, projection: Operand | undefined) => boolean,
  ): void {
    const seen = new Set<string>();
    const pending = [...starts];
    for (let tensor = pending.pop(); tensor !== undefined; tensor = pending.pop()) {
      if (seen.has(tensor)) continue;
      seen.add(tensor);
      const node = this.#flow.graph.producer(tensor);
      const projection = this.#flow.projection(tensor) ?? headNorm(this.#flow, tensor);
      if (visit(tensor, node, projection)) pending.push(...this.#flow.contentInputs(node!));
    }
  }

  #isLinear(node: NodeProto): boolean {
    const content = this.#flow.contentInputs(node);
    return (
      linearOps.has(node.opType) &&
      !(node.opType === "Mul" && content.length > 1) &&
      !(node.opType === "Div" && this.#flow.isContent(node.input[1]!))
    );
  }

  /** Only operations that are linear in the activations may lie between a projection and the attention. */
  #checkLinear(node: NodeProto, what: string): void {
    if (!this.#isLinear(node)) {
      this.#fail(
        `${describeNode(node)} is between the projection and the ${what} of ${describeNode(this.#core)}, and is neither ` +
          "rearranging, nor rope, nor scale",
      );
    }
  }

  /** Forward from the attention's result to the output projection, through rearranging only. */
  #followResult(result: string): { context: string; outputProjection: NodeProto } {
    const { graph } = this.#flow;
    for (let tensor = result; ; ) {
      const readers = graph.consumers(tensor).filter(({ opType }) => opType !== "Shape");
      const node = readers[0];
      if (!node || readers.length > 1) {
        this.#fail(`the result of ${describeNode(this.#core)}, "${tensor}", is read by ${readers.length} nodes, not 1`);
      }
      // Rounding by constant scales belongs to what is behind, as it stays there.
      if (node.opType === "QuantizeLinear" || (node.input[0] === tensor && this.#flow.projection(node.output[0]!))) {
        return { context: tensor, outputProjection: node };
      }
      if (!layoutOps.has(node.opType) || this.#flow.contentInputs(node).length !== 1) {
        this.#fail(`${describeNode(node)} is between ${describeNode(this.#core)} and the output projection`);
      }
      tensor = node.output[0]!;
    }
  }
}
