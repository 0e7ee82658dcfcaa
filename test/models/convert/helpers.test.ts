import { join } from "node:path";
import { MessageChannel, Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../../attention/root.ts";
import type { DenseMatrix, DenseType } from "../../../models/builder/weights.ts";
import { sharedQuantiser } from "../../../models/convert/helpers.ts";
import type { HelperPlace } from "../../../models/convert/messages.ts";
import { quantisations, quantise } from "../../../models/safetensors/quantise.ts";
import { seeded } from "../../support/gguf-llama.ts";

const workers: Worker[] = [];
const places: HelperPlace[] = [];

beforeAll(() => {
  for (let i = 0; i < 2; i++) {
    const { port1: port, port2 } = new MessageChannel();
    const signals = new SharedArrayBuffer(8);
    const file = join(packageRoot(), "dist/models/convert/helper-thread.js");
    workers.push(new Worker(file, { workerData: { port: port2, signals }, transferList: [port2] }));
    places.push({ port, signals });
  }
});

afterAll(async () => {
  for (const { port } of places) port.close();
  // They wait for a job, and end all the same.
  expect(await Promise.all(workers.map((worker) => worker.terminate()))).toEqual([1, 1]);
});

function matrix(rows: number, columns: number, dtype: DenseType, change: (values: Float32Array) => void = () => {}) {
  const random = seeded(rows);
  const values = Float32Array.from({ length: rows * columns }, () => random() - 0.5);
  change(values);
  const halves = new Uint16Array(new Uint32Array(values.buffer).map((bits) => bits >>> 16));
  const bytes = new Uint8Array(dtype === "f32" ? values.buffer : halves.buffer);
  return { kind: "dense", rows, columns, dtype, read: () => bytes } satisfies DenseMatrix;
}

describe("quantising with helpers", () => {
  it.each(quantisations)("gives the same as without: %s", (kind) => {
    const shared = sharedQuantiser(places);
    for (const dtype of ["f32", "bf16"] as const) {
      for (const [rows, columns] of [
        [257, 256],
        [2049, 32],
        [3, 32],
        [2, 65_536],
        [300, 250],
      ] as const) {
        const given = matrix(rows, columns, dtype);
        expect(shared(given, kind, "w"), `${dtype} ${rows} x ${columns}`).toEqual(quantise(given, kind, "w"));
      }
    }
  });

  it("names the weight that cannot be quantised by its place in the whole, and goes on", () => {
    const shared = sharedQuantiser(places);
    for (const at of [5, 30_000, 76_799]) {
      const bad = matrix(300, 256, "f32", (values) => {
        values[at] = Number.NaN;
      });
      expect(() => shared(bad, "int8", "w")).toThrow(`tensor "w" has NaN at element ${at};`);
    }
    const good = matrix(300, 256, "f32");
    expect(shared(good, "int4", "w")).toEqual(quantise(good, "int4", "w"));
  });
});
