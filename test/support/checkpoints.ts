/** The checkpoints of test/golden/checkpoints as model folders. */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../../attention/root.ts";
import { goldenPath, readGoldenBytes, readGoldenJson } from "./golden.ts";

export interface CheckpointVariant {
  readonly name: string;
  /** config.json */
  readonly config: Readonly<Record<string, unknown>>;
  /** The weights, their index first if there is one. */
  readonly files: readonly string[];
  /** So many of `ids` are run. */
  readonly tokens: number;
  /** Rows whose logits are known. */
  readonly rows: readonly number[];
  readonly offset: number;
}

const golden = readGoldenJson<{
  readonly vocab: number;
  readonly ids: readonly number[];
  readonly variants: readonly CheckpointVariant[];
}>("checkpoints", "index.json");
const logits = new Float32Array(readGoldenBytes("checkpoints", "logits.bin"));

export const { variants, vocab } = golden;

export function variantNamed(name: string): CheckpointVariant {
  const variant = variants.find((candidate) => candidate.name === name);
  if (!variant) throw new Error(`no golden checkpoint ${name}`);
  return variant;
}

export function idsOf({ tokens }: CheckpointVariant): readonly number[] {
  return golden.ids.slice(0, tokens);
}

/** transformers' logits of the known rows, [rows, vocab]. */
export function logitsOf({ offset, rows }: CheckpointVariant): Float32Array {
  return logits.subarray(offset, offset + rows.length * vocab);
}

/** The known rows of logits of all tokens. */
export function knownRows({ rows }: CheckpointVariant, all: Float32Array): Float32Array {
  const known = new Float32Array(rows.length * vocab);
  for (const [i, row] of rows.entries()) known.set(all.subarray(row * vocab, (row + 1) * vocab), i * vocab);
  return known;
}

/** Makes the folder of a variant as it would lie on a disk: config.json, weights, and tiny-llama's tokenizer. */
export function writeCheckpoint(parent: string, variant: CheckpointVariant, changes: object = {}): string {
  const folder = join(parent, variant.name);
  mkdirSync(folder);
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...variant.config, ...changes }));
  for (const file of variant.files) {
    const whole = variant.files.length === 1;
    const isIndex = file.endsWith(".index.json");
    const name = whole ? "model.safetensors" : isIndex ? "model.safetensors.index.json" : file;
    copyFileSync(goldenPath("checkpoints", file), join(folder, name));
  }
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    copyFileSync(join(packageRoot(), "models/builtin/tiny-llama", file), join(folder, file));
  }
  return folder;
}
