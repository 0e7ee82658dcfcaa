import { InferenceSession, Tensor } from "onnxruntime-node";
import { ModelError, messageOf } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import { makeNode, makeValueInfo } from "./build.ts";
import { inlineTensor } from "./external.ts";
import { decoderFeed, type RunShape } from "./feeds.ts";
import { type Flow, type Projection, shapeOps } from "./flow.ts";
import { attribute, describeNode } from "./graph.ts";
import { isHeadNorm, type Operand } from "./head-norm.ts";
import type { FoundAttention } from "./match.ts";
import {
  DataType,
  GraphMessage,
  ModelMessage,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from "./messages.ts";
import { encodeModel } from "./proto.ts";

/** One experiment. */
export interface Probe extends RunShape {
  /** Standard deviation of the random activations and caches. */
  readonly deviation: number;
  /** Give every layer the same cached keys and the same cached values; long caches need it to fit in memory. */
  readonly shareCache: boolean;
}

/** Everything that was fed and what came out, by tensor name. */
export interface ProbeResult {
  readonly inputs: ReadonlyMap<string, Float32Array>;
  readonly outputs: ReadonlyMap<string, { readonly data: Float32Array; readonly dims: readonly number[] }>;
}

/**
 * The attentions of a graph cut out of it: from projections, masks, positions and caches to the contexts that the output
 * projections read, all layers in one ONNX Runtime session.
 */
export class AttentionProbe {
  readonly #session: InferenceSession;
  readonly #cuts: readonly Projection[];
  readonly #values: readonly ValueInfoProto[];
  readonly #config: ModelConfig;
  readonly #keyCaches: ReadonlySet<string | undefined>;
  /** Float constants that the cut-out graph holds, among them rope's frequencies. */
  readonly constants: readonly TensorProto[];

  private constructor(
    session: InferenceSession,
    cut: CutGraph,
    config: ModelConfig,
    keyCaches: ReadonlySet<string | undefined>,
  ) {
    this.#session = session;
    this.#cuts = cut.projections;
    this.#values = cut.values;
    this.#config = config;
    this.#keyCaches = keyCaches;
    const inline = cut.nodes.flatMap((node) => attribute(node, "value")?.t ?? []);
    this.constants = [...cut.initializers, ...inline];
  }

  /** Throws ModelError "unsupported_graph" when ONNX Runtime does not take the graph. */
  static async create(flow: Flow, found: readonly FoundAttention[], config: ModelConfig): Promise<AttentionProbe> {
    const contexts = found.map(({ context }) => context);
    const cut = cutOut(
      flow,
      contexts,
      found.flatMap(({ query, key, value }) => [query, key, value]),
    );
    try {
      const session = await openCut(flow, cut, [...contexts, ...cut.norms]);
      return new AttentionProbe(session, cut, config, new Set(found.map(({ pastKey }) => pastKey)));
    } catch (error) {
      throw new ModelError("unsupported_graph", `ONNX Runtime does not take the attention: ${messageOf(error)}`);
    }
  }

  /** Runs one probe. Throws ModelError "attention_unproven" when ONNX Runtime fails on it. */
  async run({ tokens, past, deviation, shareCache }: Probe): Promise<ProbeResult> {
    const normal = normalGenerator(tokens * 65_537 + past);
    const random = (size: number) => new Float32Array(size).map(() => deviation * normal());
    const inputs = new Map<string, Float32Array>();
    const feeds: Record<string, Tensor> = {};
    const ids = Array.from({ length: tokens }, (_, i) => i % this.#config.vocabSize);
    const shared = new Map<boolean, Float32Array>();
    for (const value of this.#values) {
      feeds[value.name] = decoderFeed(value, { tokens, past }, this.#config, ids, (name, size) => {
        const isKey = this.#keyCaches.has(name);
        const data = (shareCache && shared.get(isKey)) || random(size);
        shared.set(isKey, data);
        inputs.set(name, data);
        return data;
      });
    }
    for (const { tensor, width, rank } of this.#cuts) {
      const data = random(tokens * width);
      inputs.set(tensor, data);
      feeds[tensor] = new Tensor("float32", data, rank === 2 ? [tokens, width] : [1, tokens, width]);
    }
    let results: InferenceSession.ReturnType;
    try {
      results = await this.#session.run(feeds);
    } catch (error) {
      throw new ModelError(
        "attention_unproven",
        `attention cannot be proven: it fails on ${tokens} tokens behind ${past} cached ones: ${messageOf(error)}`,
      );
    }
    const outputs = new Map(
      Object.entries(results).map(([name, { data, dims }]) => [name, { data: data as Float32Array, dims }]),
    );
    return { inputs, outputs };
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

/** A session of a part of the graph, from where it was cut to the given tensors. */
export async function openCut(flow: Flow, cut: CutGraph, outputs: readonly string[]): Promise<InferenceSession> {
  const model = ModelMessage.create({
    irVersion: flow.graph.model.irVersion,
    opsetImport: flow.graph.model.opsetImport,
    graph: GraphMessage.create({
      name: "attention probe",
      node: [...cut.nodes],
      initializer: cut.initializers.map(inlineTensor),
      input: [
        ...cut.values,
        ...cut.projections.map(({ tensor, width, rank }) =>
          makeValueInfo(tensor, DataType.FLOAT, rank === 2 ? ["tokens", width] : [1, "tokens", width]),
        ),
      ],
      output: outputs.map((name) => makeValueInfo(name, DataType.FLOAT, [])),
    }),
  });
  // Outputs without a shape: it is for the runtime to infer.
  for (const output of model.graph!.output) output.type!.tensorType!.shape = null;
  return InferenceSession.create(encodeModel(model), {
    intraOpNumThreads: 1,
    graphOptimizationLevel: "disabled",
    // What fails is thrown and told of, or tried otherwise.
    logSeverityLevel: 4,
  });
}

export interface CutGraph {
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
  /** Inputs of the model that the attentions read. */
  readonly values: readonly ValueInfoProto[];
  /** Projections and embeddings where the graph was cut. */
  readonly projections: readonly Projection[];
  /** What norms of heads would make, which pass their input on here. */
  readonly norms: readonly string[];
}

/**
 * Everything between some tensors, such as the attentions' contexts, and the nearest projections, embeddings and model
 * inputs. Norms of heads among the operands pass their input on: what they make stays random, and large weights cannot hide
 * what happens to it.
 */
export function cutOut(flow: Flow, tensors: readonly string[], operands: readonly Operand[] = []): CutGraph {
  const { graph } = flow;
  const projections = new Map<string, Projection>();
  const needed = new Set<string>();
  const nodes = new Set<NodeProto>();
  const norms = operands.filter(isHeadNorm);
  const normed = new Map(norms.map((norm) => [norm.tensor, norm.normed]));
  const pending = [...tensors];
  for (let tensor = pending.pop(); tensor !== undefined; tensor = pending.pop()) {
    if (tensor === "" || needed.has(tensor)) continue;
    needed.add(tensor);
    const projection = flow.projection(tensor) ?? flow.embedding(tensor);
    const node = graph.producer(tensor);
    if (projection) projections.set(tensor, projection);
    else if (normed.has(tensor)) {
      nodes.add(node!);
      pending.push(normed.get(tensor)!);
    } else if (node) {
      nodes.add(node);
      pending.push(...node.input);
    }
  }
  const ordered = graph.nodes
    .filter((node) => nodes.has(node))
    .map((node) => {
      const input = normed.get(node.output[0]!);
      return input === undefined ? node : makeNode("Identity", [input], [node.output[0]!]);
    });
  const reader = ordered.find(
    ({ opType, input }) => !shapeOps.has(opType) && input.some((name) => flow.dependsOnIds(name)),
  );
  if (reader) {
    throw new ModelError(
      "attention_unproven",
      `attention cannot be proven: ${describeNode(reader)} makes it depend on token ids other than through the activations`,
    );
  }
  return {
    nodes: ordered,
    initializers: graph.proto.initializer.filter(({ name }) => needed.has(name)),
    values: graph.proto.input.filter(({ name }) => needed.has(name)),
    projections: [...projections.values()],
    norms: [...normed.keys()],
  };
}

/** Reproducible normal deviates: Marsaglia's polar method over mulberry32. */
function normalGenerator(seed: number): () => number {
  let state = seed >>> 0;
  let spare: number | undefined;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
  return () => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    for (;;) {
      const u = uniform();
      const v = uniform();
      const square = u * u + v * v;
      if (square === 0 || square >= 1) continue;
      const factor = Math.sqrt((-2 * Math.log(square)) / square);
      spare = v * factor;
      return u * factor;
    }
  };
}
