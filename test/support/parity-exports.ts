/** The ONNX exports of the golden checkpoints, with the checkpoint's weights put back into them. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { floatsOf, transpose } from "../../models/builder/weights.ts";
import {
  decodeModel,
  floatTensor,
  graphOf,
  type ModelProto,
  tensorShape,
  writeModel,
} from "../../models/onnx/proto.ts";
import { type Checkpoint, openCheckpoint } from "../../models/safetensors/checkpoint.ts";
import { type CheckpointVariant, writeCheckpoint } from "./checkpoints.ts";
import { goldenPath } from "./golden.ts";

/** Who made an export, see test/oracle/parity_exports.py. */
export const exporters = ["script", "dynamo", "optimum", "optimum-2024", "optimum-2023"] as const;
export type Exporter = (typeof exporters)[number];

export function isExporter(name: string): name is Exporter {
  return exporters.some((exporter) => exporter === name);
}

type WeightMap = Readonly<Record<string, { readonly tensor: string; readonly transposed: boolean }>>;

function graphPath(name: string, exporter: Exporter): string {
  return goldenPath("parity", `${name}.${exporter}.onnx.gz`);
}

export function hasExport({ name }: CheckpointVariant, exporter: Exporter): boolean {
  return existsSync(graphPath(name, exporter));
}

/** Makes the folder of a variant as a conversion leaves it: config.json, tokenizer, and model.onnx in place of the weights. */
export function writeExport(
  parent: string,
  variant: CheckpointVariant,
  exporter: Exporter,
  { graphOf: source = variant.name, changes = {} }: { graphOf?: string; changes?: object } = {},
): string {
  const folder = writeCheckpoint(parent, variant, changes);
  const packed = graphPath(source, exporter);
  const model = decodeModel(gunzipSync(readFileSync(packed)), packed);
  const checkpoint = openCheckpoint(folder);
  try {
    putWeights(model, checkpoint);
  } finally {
    checkpoint.close();
  }
  writeModel(join(folder, "model.onnx"), model);
  for (const file of checkpoint.paths) rmSync(file);
  return folder;
}

/** Fills the initializers that the generator has left empty. */
function putWeights(model: ModelProto, { tensors }: Checkpoint): void {
  const noted = model.metadataProps.find(({ key }) => key === "weights");
  const weights = JSON.parse(noted!.value) as WeightMap;
  model.metadataProps = model.metadataProps.filter(({ key }) => key !== "weights");
  const graph = graphOf(model);
  graph.initializer = graph.initializer.map((empty) => {
    const known = weights[empty.name];
    if (!known) return empty;
    const tensor = tensors.get(known.tensor)!;
    const floats = floatsOf(tensor.dtype.toLowerCase() as "f32" | "f16" | "bf16", tensor.file.read(tensor));
    const values = known.transposed ? transpose(floats, tensor.shape[0]!, tensor.shape[1]!) : floats;
    return floatTensor(empty.name, tensorShape(empty), values);
  });
}
