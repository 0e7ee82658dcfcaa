import {
  AttributeMessage,
  type AttributeProto,
  AttributeType,
  DimensionMessage,
  GraphMessage,
  ModelMessage,
  type ModelProto,
  NodeMessage,
  type NodeProto,
  type TensorProto,
  ValueInfoMessage,
  type ValueInfoProto,
} from "./messages.ts";

/** Attribute values for `makeNode`. A bare number is an int; floats must say so, for 1.0 and 1 are different attributes. */
export type AttributeValue =
  | number
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly tensor: TensorProto };

export function makeAttribute(name: string, value: AttributeValue): AttributeProto {
  if (typeof value === "number") {
    if (!Number.isInteger(value)) throw new TypeError(`attribute ${name} = ${value}: say { float: ${value} }`);
    return AttributeMessage.create({ name, type: AttributeType.INT, i: value });
  }
  if (typeof value === "string") {
    return AttributeMessage.create({ name, type: AttributeType.STRING, s: new TextEncoder().encode(value) });
  }
  if ("float" in value) return AttributeMessage.create({ name, type: AttributeType.FLOAT, f: value.float });
  if ("tensor" in value) return AttributeMessage.create({ name, type: AttributeType.TENSOR, t: value.tensor });
  return AttributeMessage.create({ name, type: AttributeType.INTS, ints: [...value] });
}

/** A node. An empty string among the inputs stands for an optional input that is left out. */
export function makeNode(
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Readonly<Record<string, AttributeValue>> = {},
  options: { readonly domain?: string; readonly name?: string } = {},
): NodeProto {
  return NodeMessage.create({
    opType,
    input: [...input],
    output: [...output],
    attribute: Object.entries(attributes).map(([name, value]) => makeAttribute(name, value)),
    domain: options.domain ?? "",
    name: options.name ?? "",
  });
}

/** A graph input or output: element type and dimensions, a string for a symbolic one. */
export function makeValueInfo(name: string, elemType: number, shape: readonly (number | string)[]): ValueInfoProto {
  const dim = shape.map((size) =>
    DimensionMessage.create(typeof size === "number" ? { dimValue: size } : { dimParam: size }),
  );
  return ValueInfoMessage.create({
    name,
    type: { tensorType: { elemType, shape: { dim } } } as ValueInfoProto["type"],
  });
}

export interface ModelParts {
  readonly name: string;
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
  readonly inputs: readonly ValueInfoProto[];
  readonly outputs: readonly ValueInfoProto[];
  /** Domain to version; "" is the standard one. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly irVersion?: number;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A whole model. IR version 8 unless told otherwise: the lowest that knows everything used here. */
export function makeModel(parts: ModelParts): ModelProto {
  return ModelMessage.create({
    irVersion: parts.irVersion ?? 8,
    producerName: "sparq",
    opsetImport: Object.entries(parts.opsets).map(([domain, version]) => ({ domain, version })),
    metadataProps: Object.entries(parts.metadata ?? {}).map(([key, value]) => ({ key, value })),
    graph: GraphMessage.create({
      name: parts.name,
      node: [...parts.nodes],
      initializer: [...parts.initializers],
      input: [...parts.inputs],
      output: [...parts.outputs],
    }),
  });
}
