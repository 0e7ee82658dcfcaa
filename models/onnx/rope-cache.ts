import { ModelError } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import { describeNode, type Graph, intAttribute } from "./graph.ts";
import type { NodeProto, TensorProto } from "./messages.ts";
import { tensorShape, tensorToFloat32 } from "./tensor.ts";

/** Rope as tables of cosines and sines have it. */
export type CachedRope = Pick<ModelConfig, "rotaryDim" | "ropeScale" | "inverseFrequencies"> & {
  /** Positions that the tables have. */
  readonly positions: number;
};

/** Where the operators that take such tables have the one of cosines; that of sines follows. */
const cosineInputs: Readonly<Record<string, number>> = {
  "com.microsoft.GroupQueryAttention": 7,
  "com.microsoft.RotaryEmbedding": 2,
  RotaryEmbedding: 1,
};

/**
 * The frequencies behind the tables that a graph's rope reads. Cosines and sines of many positions leave no doubt about
 * them: a frequency is known from the first positions and gets sharper with each doubling.
 * @throws ModelError "attention_unproven" for a graph that has no tables or several, or tables that no frequencies give
 */
export function cachedRope(graph: Graph): CachedRope {
  const pairs = new Map<string, { node: NodeProto; cos: TensorProto; sin: TensorProto }>();
  for (const node of graph.nodes) {
    const place = cosineInputs[node.domain === "" ? node.opType : `${node.domain}.${node.opType}`];
    const turned = node.opType !== "GroupQueryAttention" || intAttribute(node, "do_rotary", 0) === 1;
    if (place === undefined || !turned) continue;
    const [cosName = "", sinName = ""] = node.input.slice(place, place + 2);
    const [cos, sin] = [graph.storedTensor(cosName), graph.storedTensor(sinName)];
    if (cos && sin) pairs.set(`${cosName} ${sinName}`, { node, cos, sin });
  }
  const [first, second] = pairs.values();
  if (!first) {
    throw new ModelError(
      "attention_unproven",
      "attention cannot be proven: the graph has no tables of rope's cosines and sines, and without a config.json nothing " +
        "else tells its frequencies",
    );
  }
  if (second) {
    throw new ModelError(
      "attention_unproven",
      `attention cannot be proven: ${describeNode(second.node)} has another rope than ${describeNode(first.node)}; ` +
        "one for all layers is supported",
    );
  }
  return readTables(first.node, first.cos, first.sin);
}

function readTables(node: NodeProto, cosTensor: TensorProto, sinTensor: TensorProto): CachedRope {
  const [positions = 0, components = 0, ...more] = tensorShape(cosTensor);
  const shapes = `[${tensorShape(cosTensor)}] and [${tensorShape(sinTensor)}]`;
  if (
    more.length > 0 ||
    positions < 2 ||
    components < 1 ||
    `${tensorShape(sinTensor)}` !== `${tensorShape(cosTensor)}`
  ) {
    throw new ModelError("unsupported_graph", `the tables of cosines and sines of ${describeNode(node)} are ${shapes}`);
  }
  const cos = tensorToFloat32(cosTensor);
  const sin = tensorToFloat32(sinTensor);
  const ropeScale = cos[0]!;
  const at = (position: number, i: number): Point => {
    return { cos: cos[position * components + i]! / ropeScale, sin: sin[position * components + i]! / ropeScale };
  };
  const inverseFrequencies = Float32Array.from({ length: components }, (_, i) => {
    return frequencyOf(positions, (position) => at(position, i));
  });
  return { rotaryDim: 2 * components, ropeScale, inverseFrequencies, positions };
}

interface Point {
  readonly cos: number;
  readonly sin: number;
}

/** Float32 values beside the estimate that are tried. */
const NEIGHBOURS = 8;
/** Positions at which they are compared. */
const SAMPLES = 64;

/** The float32 frequency whose angles, rounded to float32 as models do, give these points best. */
function frequencyOf(positions: number, at: (position: number) => Point): number {
  const angle = (position: number) => Math.atan2(at(position).sin, at(position).cos);
  let estimate = angle(1);
  for (let position = 2; position < positions; position *= 2) {
    const turns = (angle(position) - position * estimate) / (2 * Math.PI);
    estimate += ((turns - Math.round(turns)) * 2 * Math.PI) / position;
  }
  const sampled = Array.from({ length: SAMPLES }, (_, i) => Math.round(((i + 1) * (positions - 1)) / SAMPLES));
  const step = 2 ** Math.floor(Math.log2(Math.abs(estimate))) * 2 ** -23;
  let best = Math.fround(estimate);
  let least = Number.POSITIVE_INFINITY;
  for (let n = -NEIGHBOURS; n <= NEIGHBOURS; n++) {
    const frequency = Math.fround(Math.fround(estimate) + n * step);
    let error = 0;
    for (const position of sampled) {
      const turned = Math.fround(position * frequency);
      const point = at(position);
      error += Math.abs(Math.cos(turned) - point.cos) + Math.abs(Math.sin(turned) - point.sin);
    }
    if (error < least) {
      least = error;
      best = frequency;
    }
  }
  return best;
}
