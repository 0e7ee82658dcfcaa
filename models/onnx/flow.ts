import { ModelError } from "../errors.ts";
import { describeNode, type Graph, intAttribute } from "./graph.ts";
import { DataType, type NodeProto, toNumber, type ValueInfoProto } from "./messages.ts";

/** The graph's inputs by what they are for. Only `ids` is certain to exist. */
export interface DecoderInputs {
  /** Token ids, int [batch, tokens]. */
  readonly ids: ValueInfoProto;
  /** Whether the graph takes one new token a run, not more. */
  readonly oneToken: boolean;
  /** 1 for tokens that may be seen, [batch, past + tokens]. */
  readonly mask: ValueInfoProto | undefined;
  /** [batch, tokens], or [tokens] as `cache_position`. */
  readonly positions: readonly ValueInfoProto[];
  /** Cached keys and values, float [batch, KV heads, past, head dim]. */
  readonly past: readonly ValueInfoProto[];
}

/** A tensor that a projection with constant weights makes, bias included: where an attention is cut out of the graph. */
export interface Projection {
  readonly tensor: string;
  /** Size of the last dimension. */
  readonly width: number;
  /** 2 for Gemm's [tokens, width], else 3: [batch, tokens, width]. */
  readonly rank: 2 | 3;
}

/** A lookup of token embeddings. */
export interface Embedding extends Projection {
  /** Token ids that have a row. */
  readonly rows: number;
}

/** Their outputs depend on their inputs' shapes only. */
export const shapeOps: ReadonlySet<string> = new Set(["Shape", "Size"]);
/** Products with a constant matrix of N outputs, their input [batch, tokens, K]. */
const packedLinears: ReadonlySet<string> = new Set(["MatMulNBits", "MatMulBnb4", "QLinear", "DenseLinear"]);
/** Lookups of rows by token ids, which are their first input; K columns and N rows. */
const embeddings: ReadonlySet<string> = new Set(["QEmbedding", "DenseEmbedding"]);
const integerTypes: readonly number[] = [DataType.INT32, DataType.INT64];

/**
 * Which tensors carry the model's activations ("content"): what comes from the embedding table by token id and from the
 * cached keys and values, as opposed to constants, shapes, positions and masks.
 */
export class Flow {
  readonly graph: Graph;
  readonly inputs: DecoderInputs;
  readonly #content = new Set<string>();
  readonly #embeddings = new Map<string, Embedding>();
  readonly #fromIds = new Set<string>();
  readonly #declared = new Map<string, Projection>();

  /** Throws ModelError "unsupported_graph" for inputs that a decoder does not have. */
  constructor(graph: Graph) {
    this.graph = graph;
    this.inputs = classifyInputs(graph.proto.input);
    this.#fromIds.add(this.inputs.ids.name);
    for (const { name } of this.inputs.past) this.#content.add(name);
    for (const node of graph.nodes) {
      if (shapeOps.has(node.opType)) continue;
      const embedding = this.#embeddingOf(node);
      if (embedding) this.#embeddings.set(embedding.tensor, embedding);
      if (embedding || node.input.some((name) => this.#content.has(name))) {
        for (const name of node.output) this.#content.add(name);
      } else if (node.input.some((name) => this.#fromIds.has(name))) {
        for (const name of node.output) this.#fromIds.add(name);
      }
    }
  }

  isContent(tensor: string): boolean {
    return this.#content.has(tensor);
  }

  /** A node's inputs that are content; one that it reads twice, as in x * x, is there twice. */
  contentInputs(node: NodeProto): string[] {
    return node.input.filter((name) => this.#content.has(name));
  }

  /** Whether a tensor that is no content depends on which tokens there are, not only on how many. */
  dependsOnIds(tensor: string): boolean {
    return this.#fromIds.has(tensor);
  }

  /** The embedding lookup that makes this tensor, if one does. */
  embedding(tensor: string): Embedding | undefined {
    return this.#embeddings.get(tensor);
  }

  get embeddings(): Embedding[] {
    return [...this.#embeddings.values()];
  }

  /** Makes a tensor of activations count as a projection, however it came to be: attentions are cut out behind it. */
  declareProjection(projection: Projection): void {
    this.#content.add(projection.tensor);
    this.#declared.set(projection.tensor, projection);
  }

  /** Tells of a tensor that was put into the graph that it carries activations. */
  declareContent(tensor: string): void {
    this.#content.add(tensor);
  }

  /** The projection that makes this tensor, directly or with a bias added behind it, if one does, or the one declared. */
  projection(tensor: string): Projection | undefined {
    const declared = this.#declared.get(tensor);
    if (declared) return declared;
    const node = this.graph.producer(tensor);
    if (!node) return undefined;
    if (node.opType === "DequantizeLinear") return this.#rounded(node);
    if (node.opType !== "Add") return this.#linear(node);
    const content = this.contentInputs(node);
    const bias = node.input.find((name) => this.graph.isConstant(name));
    const inner = content.length === 1 && bias !== undefined ? this.graph.producer(content[0]!) : undefined;
    const linear = inner && this.#linear(inner);
    const shape = bias === undefined ? undefined : this.graph.constantShape(bias);
    // A bias has one value per output; anything else added to a projection is not part of it.
    return linear && shape?.at(-1) === linear.width && shape.slice(0, -1).every((size) => size === 1)
      ? { ...linear, tensor }
      : undefined;
  }

  /** A projection whose results are rounded by constant scales, QuantizeLinear and DequantizeLinear behind it. */
  #rounded(node: NodeProto): Projection | undefined {
    const quantised = this.graph.producer(node.input[0]!);
    if (quantised?.opType !== "QuantizeLinear" || !this.isContent(quantised.input[0]!)) return undefined;
    const scales = [...node.input.slice(1), ...quantised.input.slice(1)];
    if (!scales.every((name) => name === "" || this.graph.isConstant(name))) return undefined;
    const projection = this.projection(quantised.input[0]!);
    return projection && { ...projection, tensor: node.output[0]! };
  }

  /** Whether a node multiplies activations with constant weights, and what it makes. */
  #linear(node: NodeProto): Projection | undefined {
    const [data = "", weight = ""] = node.input;
    const tensor = node.output[0]!;
    if (!this.isContent(data) || !this.graph.isConstant(weight)) return undefined;
    if (packedLinears.has(node.opType)) return { tensor, width: intAttribute(node, "N", 0), rank: 3 };
    if (node.opType !== "MatMul" && node.opType !== "Gemm") return undefined;
    const shape = this.graph.constantShape(weight);
    if (shape?.length !== 2) {
      throw new ModelError("unsupported_graph", `${describeNode(node)} has a weight whose shape cannot be read`);
    }
    const transposed = node.opType === "Gemm" && intAttribute(node, "transB", 0) === 1;
    return { tensor, width: shape[transposed ? 0 : 1]!, rank: node.opType === "Gemm" ? 2 : 3 };
  }

  #embeddingOf(node: NodeProto): Embedding | undefined {
    if (embeddings.has(node.opType)) {
      const [ids = ""] = node.input;
      const [width, rows] = [intAttribute(node, "K", 0), intAttribute(node, "N", 0)];
      return this.#fromIds.has(ids) ? { tensor: node.output[0]!, width, rank: 3, rows } : undefined;
    }
    const [table = "", indices = ""] = node.input;
    if (node.opType === "GatherBlockQuantized") {
      const scales = this.graph.constantShape(node.input[2] ?? "");
      if (!this.#fromIds.has(indices) || intAttribute(node, "gather_axis", 0) !== 0 || scales?.length !== 2)
        return undefined;
      const width = scales[1]! * intAttribute(node, "block_size", 128);
      return { tensor: node.output[0]!, width, rank: 3, rows: scales[0]! };
    }
    if (node.opType !== "Gather" || !this.#fromIds.has(indices) || intAttribute(node, "axis", 0) !== 0)
      return undefined;
    const shape = this.graph.isConstant(table) ? this.graph.constantShape(table) : undefined;
    return shape?.length === 2 ? { tensor: node.output[0]!, width: shape[1]!, rank: 3, rows: shape[0]! } : undefined;
  }
}

function classifyInputs(values: readonly ValueInfoProto[]): DecoderInputs {
  const past: ValueInfoProto[] = [];
  const positions: ValueInfoProto[] = [];
  let ids: ValueInfoProto | undefined;
  let mask: ValueInfoProto | undefined;
  for (const value of values) {
    const rank = value.type?.tensorType?.shape?.dim.length;
    const type = value.type?.tensorType?.elemType;
    const integer = integerTypes.includes(type ?? 0);
    if (value.name === "input_ids" && integer) ids = value;
    else if (value.name === "attention_mask" && rank === 2) mask = value;
    else if ((value.name === "position_ids" || value.name === "cache_position") && integer) positions.push(value);
    else if (type === DataType.FLOAT && rank === 4) past.push(value);
    else {
      throw new ModelError(
        "unsupported_graph",
        `the graph has an input "${value.name}" that is none of input_ids, attention_mask [batch, tokens], ` +
          "position_ids, cache_position and past keys and values [batch, heads, past, head dim]",
      );
    }
  }
  if (!ids) throw new ModelError("unsupported_graph", 'the graph has no integer input "input_ids"');
  const tokens = ids.type!.tensorType!.shape?.dim[1];
  const oneToken = tokens?.value === "dimValue" && toNumber(tokens.dimValue) === 1;
  return { ids, oneToken, mask, positions, past };
}
