/** The exports of test/golden/exports, and edited copies of them. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { afterAll } from "vitest";
import { packageRoot } from "../../attention/root.ts";
import { parseConfig } from "../../models/config.ts";
import type { Graph } from "../../models/onnx/graph.ts";
import { importOnnx } from "../../models/onnx/import.ts";
import {
  floatTensor,
  type GraphProto,
  graphOf,
  type NodeProto,
  OperatorSetIdMessage,
  readModel,
  writeModel,
} from "../../models/onnx/proto.ts";
import type { ImportReport, ModelConfig } from "../../models/types.ts";

export const exportsFolder = join(packageRoot(), "test/golden/exports");
export const builtinFolder = join(packageRoot(), "models/builtin");

/** Folder names of all variants. */
export const variants: readonly string[] = readdirSync(exportsFolder).filter((name) => !name.includes("."));

export interface Golden {
  readonly prompt: readonly number[];
  /** [tokens, vocab], from torch. */
  readonly logits: Float32Array;
}

export function readGolden(folder: string): Golden {
  const { prompt } = JSON.parse(readFileSync(join(folder, "golden.json"), "utf8"));
  const bytes = new Uint8Array(readFileSync(join(folder, "logits.bin")));
  return { prompt, logits: new Float32Array(bytes.buffer) };
}

export function readConfig(folder: string, changes: Record<string, unknown> = {}): ModelConfig {
  const path = join(folder, "config.json");
  return parseConfig({ ...JSON.parse(readFileSync(path, "utf8")), ...changes }, undefined, path);
}

const temporary: string[] = [];

/** A new folder that goes away after the file's tests. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "sparq-models-"));
  temporary.push(folder);
  return folder;
}

/** To be called once in each test file that makes folders. */
export function removeTemporaryFolders(): void {
  afterAll(() => {
    for (const folder of temporary) rmSync(folder, { recursive: true, force: true });
  });
}

/** A copy of a variant, or of a folder by its path, in a temporary folder, its graph changed. */
export function editedExport(variant: string, edit: (graph: GraphProto) => void = () => {}): string {
  const folder = join(temporaryFolder(), basename(variant));
  cpSync(resolve(exportsFolder, variant), folder, { recursive: true });
  const path = join(folder, "model.onnx");
  const model = readModel(path);
  edit(graphOf(model));
  writeModel(path, model);
  return folder;
}

/** A copy of a variant, or of a folder by its path, with config.json changed. */
export function reconfiguredExport(variant: string, changes: Record<string, unknown>): string {
  const folder = join(temporaryFolder(), basename(variant));
  cpSync(resolve(exportsFolder, variant), folder, { recursive: true });
  const path = join(folder, "config.json");
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...changes }));
  return folder;
}

/** Imports a folder's model.onnx into a temporary folder. */
export async function importFolder(
  folder: string,
): Promise<{ report: ImportReport; graphPath: string; config: ModelConfig }> {
  const target = temporaryFolder();
  const config = readConfig(folder);
  const report = await importOnnx(join(folder, "model.onnx"), config, target);
  return { report, graphPath: join(target, "model.onnx"), config };
}

/** The n-th node of a type. */
export function nthNode(graph: GraphProto, opType: string, n = 0): NodeProto {
  const node = graph.node.filter((candidate) => candidate.opType === opType)[n];
  if (!node) throw new Error(`the fixture has no ${opType} number ${n}`);
  return node;
}

/** Puts nodes into the graph before another one; they make what it then reads instead of `tensor`. */
export function interpose(
  graph: GraphProto,
  reader: NodeProto,
  tensor: string,
  replacement: string,
  ...nodes: NodeProto[]
): void {
  graph.node.splice(graph.node.indexOf(reader), 0, ...nodes);
  reader.input = reader.input.map((name) => (name === tensor ? replacement : name));
}

/** cos or sin of every position's angles, [positions, rotary / 2]. */
export function ropeCache(name: string, config: ModelConfig, of: (angle: number) => number) {
  const half = config.rotaryDim / 2;
  const values = Float32Array.from({ length: config.maxPositions * half }, (_, i) => {
    return of(Math.fround(Math.floor(i / half) * config.inverseFrequencies[i % half]!));
  });
  return floatTensor(name, [config.maxPositions, half], values);
}

/** Writes a graph of which only the logits are wanted, without what they do not need, and with ONNX Runtime's own operators. */
export function writeWithContrib(path: string, graph: Graph): void {
  graph.proto.output = graph.proto.output.filter(({ name }) => name === "logits");
  graph.removeDead();
  const used = new Set(graph.nodes.flatMap(({ input }) => input));
  graph.proto.input = graph.proto.input.filter(({ name }) => used.has(name));
  graph.model.opsetImport.push(OperatorSetIdMessage.create({ domain: "com.microsoft", version: 1 }));
  writeModel(path, graph.model);
}
