/** A decoder small enough for tests, twice: as a canonical ONNX graph, and in TypeScript on the reference attention. */
import { referenceAttend } from "../../attention/reference.ts";
import { ReferenceStore } from "../../attention/reference-store.ts";
import type { AttendInput, Observation, StepInput, Traffic } from "../../attention/types.ts";
import {
  type AttributeValue,
  DataType,
  floatTensor,
  type ModelProto,
  makeModel,
  makeNode,
  makeValueInfo,
} from "../../models/onnx/proto.ts";
import { seeded } from "../contract/attention-fixture.ts";

export interface DecoderShape {
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rotaryDim: number;
  readonly hidden: number;
  readonly ffn: number;
  readonly vocabSize: number;
  readonly window: number;
}

export const tinyShape: DecoderShape = {
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 32,
  rotaryDim: 16,
  hidden: 48,
  ffn: 40,
  vocabSize: 50,
  window: 0,
};

interface LayerWeights {
  readonly qkv: Float32Array; // [hidden, (heads + 2 kvHeads) * headDim]
  readonly output: Float32Array; // [heads * headDim, hidden]
  readonly gateUp: Float32Array; // [hidden, 2 * ffn]
  readonly down: Float32Array; // [ffn, hidden]
}

export interface Decoder {
  readonly shape: DecoderShape;
  readonly embedding: Float32Array; // [vocabSize, hidden]
  readonly layers: readonly LayerWeights[];
  readonly head: Float32Array; // [hidden, vocabSize]
  readonly inverseFrequencies: Float32Array;
}

/** Values in [-scale, scale), from a seeded generator. */
function uniform(random: () => number, length: number, scale: number): Float32Array {
  return Float32Array.from({ length }, () => (random() * 2 - 1) * scale);
}

export function makeDecoder(shape: DecoderShape = tinyShape, seed = 1): Decoder {
  const { layers, heads, kvHeads, headDim, rotaryDim, hidden, ffn, vocabSize } = shape;
  const random = seeded(seed);
  const matrix = (rows: number, columns: number) => uniform(random, rows * columns, 2 / Math.sqrt(rows));
  return {
    shape,
    embedding: uniform(random, vocabSize * hidden, 1),
    layers: Array.from({ length: layers }, () => ({
      qkv: matrix(hidden, (heads + 2 * kvHeads) * headDim),
      output: matrix(heads * headDim, hidden),
      gateUp: matrix(hidden, 2 * ffn),
      down: matrix(ffn, hidden),
    })),
    head: matrix(hidden, vocabSize),
    inverseFrequencies: Float32Array.from({ length: rotaryDim / 2 }, (_, i) => 100 ** ((-2 * i) / rotaryDim)),
  };
}

/** The attributes of a layer's PagedAttention over one fused qkv tensor. */
export function attentionAttributes(shape: DecoderShape, layer: number): Record<string, AttributeValue> {
  const { heads, kvHeads, headDim, rotaryDim, window } = shape;
  return {
    layer,
    num_heads: heads,
    num_kv_heads: kvHeads,
    head_dim: headDim,
    rotary_dim: rotaryDim,
    rope_interleaved: 0,
    window,
    q_offset: 0,
    q_head_stride: headDim,
    k_offset: heads * headDim,
    k_head_stride: headDim,
    v_offset: (heads + kvHeads) * headDim,
    v_head_stride: headDim,
    scale: { float: 1 / Math.sqrt(headDim) },
    rope_scale: { float: 1.25 },
  };
}

/**
 * The canonical graph. `change` may alter a layer's attention attributes; one set to undefined is left out. With `relays`, rows
 * may stop before these layers.
 */
export function decoderModel(
  { shape, embedding, layers, head, inverseFrequencies }: Decoder,
  change: (layer: number) => Readonly<Record<string, AttributeValue | undefined>> = () => ({}),
  relays: readonly number[] = [],
): ModelProto {
  const { heads, kvHeads, headDim, rotaryDim, hidden, ffn, vocabSize } = shape;
  const nodes = [makeNode("Gather", ["embedding", "input_ids"], ["x0"])];
  const initializers = [
    floatTensor("embedding", [vocabSize, hidden], embedding),
    floatTensor("head", [hidden, vocabSize], head),
    floatTensor("frequencies", [rotaryDim / 2], inverseFrequencies),
  ];
  for (const [i, weights] of layers.entries()) {
    const name = (part: string) => `layer${i}.${part}`;
    const wanted = { ...attentionAttributes(shape, i), ...change(i) };
    const attributes = Object.fromEntries(
      Object.entries(wanted).filter((entry): entry is [string, AttributeValue] => entry[1] !== undefined),
    );
    const qkv = name("qkv");
    nodes.push(
      makeNode("MatMul", [`x${i}`, name("qkv.weight")], [qkv]),
      makeNode("PagedAttention", [qkv, qkv, qkv, "frequencies"], [name("attended")], attributes, {
        domain: "sparq",
        name: name("attention"),
      }),
      makeNode("MatMul", [name("attended"), name("output.weight")], [name("output")]),
      makeNode("Add", [`x${i}`, name("output")], [name("middle")]),
      makeNode("MatMul", [name("middle"), name("gateUp.weight")], [name("gateUp")]),
      makeNode("SwiGLU", [name("gateUp")], [name("activated")], {}, { domain: "sparq" }),
      makeNode("MatMul", [name("activated"), name("down.weight")], [name("down")]),
      relays.includes(i + 1)
        ? makeNode(
            "Relay",
            [name("middle"), name("down")],
            [`x${i + 1}`],
            { layer: i + 1, hidden_size: hidden },
            { domain: "sparq", name: name("relay") },
          )
        : makeNode("Add", [name("middle"), name("down")], [`x${i + 1}`]),
    );
    initializers.push(
      floatTensor(name("qkv.weight"), [hidden, (heads + 2 * kvHeads) * headDim], weights.qkv),
      floatTensor(name("output.weight"), [heads * headDim, hidden], weights.output),
      floatTensor(name("gateUp.weight"), [hidden, 2 * ffn], weights.gateUp),
      floatTensor(name("down.weight"), [ffn, hidden], weights.down),
    );
  }
  nodes.push(
    makeNode("Gather", [`x${layers.length}`, "logit_rows"], ["rows"], { axis: 1 }),
    makeNode("MatMul", ["rows", "head"], ["logits"]),
  );
  return makeModel({
    name: "tiny-decoder",
    nodes,
    initializers,
    inputs: [makeValueInfo("input_ids", DataType.INT64, [1, "T"]), makeValueInfo("logit_rows", DataType.INT64, ["R"])],
    outputs: [makeValueInfo("logits", DataType.FLOAT, [1, "R", vocabSize])],
    opsets: { "": 13, sparq: 1 },
  });
}

/** The same decoder, one step after another, in TypeScript. */
export class ReferenceDecoder {
  readonly decoder: Decoder;
  readonly store: ReferenceStore;

  constructor(decoder: Decoder, blocks: number, trackMass = false) {
    const { layers, kvHeads, headDim } = decoder.shape;
    this.decoder = decoder;
    this.store = new ReferenceStore({ layers, kvHeads, headDim, blockSize: 64, blocks, trackMass });
  }

  /** `observed`: by layer. */
  step(input: StepInput): { logits: Float32Array; traffic: Traffic; observed: Observation[] } {
    const { shape, embedding, layers, head } = this.decoder;
    const { heads, kvHeads, headDim, rotaryDim, window, hidden, ffn, vocabSize } = shape;
    const traffic = { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 };
    const observed: Observation[] = [];
    let x = new Float32Array(input.tokenIds.length * hidden);
    for (const [row, id] of input.tokenIds.entries()) {
      x.set(embedding.subarray(id * hidden, (id + 1) * hidden), row * hidden);
    }
    for (const [layer, weights] of layers.entries()) {
      const attendInput: AttendInput = {
        ...input,
        layer,
        heads,
        kvHeads,
        headDim,
        rotaryDim,
        window,
        scale: Math.fround(1 / Math.sqrt(headDim)),
        interleaved: false,
        inverseFrequencies: this.decoder.inverseFrequencies,
        ropeScale: 1.25,
        qkv: multiply(x, weights.qkv, hidden),
        observe: true,
      };
      const attended = referenceAttend(this.store, attendInput);
      for (const key of Object.keys(traffic) as (keyof Traffic)[]) traffic[key] += attended.traffic[key];
      observed.push(attended.observed!);
      x = add(x, multiply(attended.out, weights.output, heads * headDim));
      x = add(x, multiply(swiglu(multiply(x, weights.gateUp, hidden), ffn), weights.down, ffn));
    }
    const rows = Float32Array.from(
      [...input.logitRows].flatMap((row) => [...x.subarray(row * hidden, (row + 1) * hidden)]),
    );
    const logits = multiply(rows, head, hidden);
    if (logits.length !== input.logitRows.length * vocabSize) throw new Error("shapes of the test decoder disagree");
    return { logits, traffic, observed };
  }
}

/** [T, inner] times [inner, n]. */
function multiply(a: Float32Array, b: Float32Array, inner: number): Float32Array<ArrayBuffer> {
  const [rows, columns] = [a.length / inner, b.length / inner];
  const out = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (let i = 0; i < inner; i++) sum += a[row * inner + i]! * b[i * columns + column]!;
      out[row * columns + column] = sum;
    }
  }
  return out;
}

function add(a: Float32Array, b: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(a, (value, i) => value + b[i]!);
}

/** [T, 2 ffn] to [T, ffn]. */
function swiglu(gateUp: Float32Array, ffn: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: gateUp.length / 2 }, (_, i) => {
    const at = Math.floor(i / ffn) * 2 * ffn + (i % ffn);
    const gate = gateUp[at]!;
    return (gate / (1 + Math.exp(-gate))) * gateUp[at + ffn]!;
  });
}
