import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { exportedOf, onnxOf } from "../../../bench/compare/exported.ts";
import { llamaCpp } from "../../../bench/compare/llama-cpp.ts";
import { locateTransformersJs } from "../../../bench/compare/node-peers.ts";
import { type PeerContext, PeerMissing } from "../../../bench/compare/peer.ts";
import { onnxruntimeGenai, transformers } from "../../../bench/compare/python-peers.ts";
import type { PreparedModel } from "../../../models/types.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-peers-"));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(() => writeFileSync(join(folder, "a.gguf"), "12345"));

function contextOf(source: string, more: Partial<PeerContext> = {}): PeerContext {
  const model = { name: "a", source: join(folder, source) } as PreparedModel;
  return { model, threads: 1, python: "python3", exported: join(folder, "exported"), ...more };
}

const exportAs = (source: object) => {
  mkdirSync(join(folder, "exported"), { recursive: true });
  writeFileSync(join(folder, "exported", "source.json"), JSON.stringify(source));
};

it("a GGUF needs an export that was made of it", () => {
  expect(() => exportedOf(contextOf("a.gguf", { exported: join(folder, "none") }))).toThrow(
    /reads no GGUF, and .*none has no export; make it with: python .*export\.py .*a\.gguf .*none \(after pip install -r/,
  );
  exportAs({ file: "b.gguf", bytes: 5 });
  expect(() => exportedOf(contextOf("a.gguf"))).toThrow(
    /was made of b\.gguf of 5 bytes, the model is a\.gguf of 5 bytes; make/,
  );
  exportAs({ file: "a.gguf", bytes: 6 });
  expect(() => exportedOf(contextOf("a.gguf"))).toThrow(PeerMissing);
  exportAs({ file: "a.gguf", bytes: 5 });
  expect(exportedOf(contextOf("a.gguf")).folder).toBe(join(folder, "exported"));
  expect(() => onnxOf(contextOf("a.gguf"))).toThrow(/there is no .*model\.onnx; make it with/);
  writeFileSync(join(folder, "exported", "model.onnx"), "");
  expect(onnxOf(contextOf("a.gguf"))).toBe(join(folder, "exported", "model.onnx"));
});

it("an ONNX model is its own export", () => {
  expect(onnxOf(contextOf("other/model.onnx"))).toBe(join(folder, "other", "model.onnx"));
});

it.each([
  [llamaCpp, contextOf("model.onnx"), /reads GGUF files only, not .*model\.onnx/],
  [transformers, contextOf("model.onnx"), /needs the weights as model\.safetensors beside .*model\.onnx/],
  [onnxruntimeGenai, contextOf("model.onnx"), /no .*genai_config\.json; it is not part of this model's folder/],
  [
    transformers,
    contextOf("a.gguf", { python: join(folder, "no-python") }),
    /no-python cannot be run .*--python or SPARQ_PYTHON/,
  ],
])("%o is missing with a reason", async (peer, context, reason) => {
  const started = peer.start(context);
  await expect(started).rejects.toThrow(PeerMissing);
  await expect(started).rejects.toThrow(reason);
});

it("transformers.js is missing with the command that installs it", () => {
  const resolve = (name: string): string => {
    throw new Error(`Cannot find module '${name}'`);
  };
  expect(() => locateTransformersJs(resolve as never)).toThrow(
    /npm install --no-save .*@huggingface\/transformers@4\.3\.1/,
  );
});
