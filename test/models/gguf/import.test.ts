import { copyFileSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { defaultAttention } from "../../../attention/defaults.ts";
import { linearKinds } from "../../../models/builder/style.ts";
import { dequantize } from "../../../models/gguf/blocks.ts";
import { importGguf } from "../../../models/gguf/import.ts";
import { supportedTypes, type TensorTypeName, tensorType } from "../../../models/gguf/types.ts";
import { loadModel } from "../../../models/load.ts";
import { graphOf, readModel } from "../../../models/onnx/proto.ts";
import type { PreparedModel } from "../../../models/types.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";
import { type TensorToWrite, writeGguf } from "../../support/gguf-file.ts";
import { llamaMetadata, llamaTensors, matrixShapes, randomBlocks, seeded, sizes } from "../../support/gguf-llama.ts";
import { goldenPath, maxDifference, readGoldenBytes, readGoldenJson } from "../../support/golden.ts";
import { openFor, SequenceRunner } from "../../support/sequence-runner.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-gguf-import-"));
afterAll(() => rmSync(folder, { recursive: true }));

const golden = readGoldenJson<{
  readonly ids: readonly number[];
  readonly texts: readonly { readonly text: string; readonly ids: readonly number[] }[];
}>("gguf", "tiny.json");
const goldenLogits = new Float32Array(readGoldenBytes("gguf", "tiny-logits.bin"));
/** Activations of 15 bits: errors of 2^-16 of a block's largest, through two layers. */
const TOLERANCE = 2e-4 * goldenLogits.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** The golden model in a folder of its own. */
function tinyCopy(name: string): string {
  const path = join(folder, `${name}.gguf`);
  copyFileSync(goldenPath("gguf", "tiny.gguf"), path);
  return path;
}

/** Logits of all positions: [ids, vocab]. */
async function logitsOf(model: PreparedModel, ids: readonly number[], chunks = [ids.length]): Promise<Float32Array> {
  const session = await openFor(model, ids.length);
  try {
    return await new SequenceRunner(session).runChunks(ids, chunks);
  } finally {
    session.close();
  }
}

describe("a GGUF with many types, against transformers on the dequantised weights", () => {
  it.each(linearKinds)("gives the same logits by %s", async (linears) => {
    const model = await importGguf(tinyCopy("tiny"), { linears });
    // Each kind of graph has its own place.
    expect(model.cached).toBe(false);
    expect(model.report).toMatchObject({
      weights: expect.stringContaining(` by ${linears}; activations int8x2`),
      format: "gguf",
      parameters: 85_568,
      selfCheck: null,
      attentions: [{ layer: 0, node: "layers.0.attention" }, { layer: 1 }],
    });
    expect(maxDifference(await logitsOf(model, golden.ids), goldenLogits)).toBeLessThan(TOLERANCE);
  });

  it.each(linearKinds)("gives bitwise the same logits however the rows are cut into steps, by %s", async (linears) => {
    const model = await importGguf(tinyCopy("cut"), { linears });
    const whole = await logitsOf(model, golden.ids);
    for (const chunks of [[1], [7], [3, 1, 1, 16]]) {
      expect(maxDifference(await logitsOf(model, golden.ids, chunks), whole)).toBe(0);
    }
  });

  it.each(linearKinds)("is near, not equal, with activations of one int8, by %s", async (linears) => {
    const path = tinyCopy(`int8-${linears}`);
    const difference = maxDifference(
      await logitsOf(await importGguf(path, { linears, activations: "int8" }), golden.ids),
      goldenLogits,
    );
    expect(difference).toBeLessThan(1000 * TOLERANCE);
    expect(difference).toBeGreaterThan(2 * TOLERANCE);
    const exact = await importGguf(path, { linears });
    expect(exact.cached).toBe(false);
    expect(maxDifference(await logitsOf(exact, golden.ids), goldenLogits)).toBeLessThan(TOLERANCE);
  });

  it("tells what its linears take of a timed step", async () => {
    const model = await importGguf(tinyCopy("timed"));
    const session = await openFor(model, 8);
    try {
      const attention = defaultAttention(model.config);
      const row = { tokenIds: golden.ids.slice(0, 8), contextLength: 0, blockTable: [0], attention, denseUntil: 8 };
      const { times, seconds, attentionSeconds } = await session.step([{ ...row, logits: "last" as const }], {
        timed: true,
      });
      expect(times!.linears).toBeGreaterThan(0);
      expect(times!.linears + attentionSeconds).toBeLessThan(seconds);
    } finally {
      session.close();
    }
  });

  it("is prepared once, and again when forced or damaged", async () => {
    const path = tinyCopy("kept");
    const progress: number[] = [];
    const first = await importGguf(path, { onProgress: (done, total) => progress.push(done / total) });
    expect(first.cached).toBe(false);
    expect(first.graphPath.startsWith(join(folder, ".sparq"))).toBe(true);
    expect(progress).toEqual([0, 1 / 3, 2 / 3, 1]);
    const second = await loadModel(path);
    expect(second).toMatchObject({ cached: true, name: "kept", report: first.report });
    expect((await importGguf(path, { force: true })).cached).toBe(false);
  });

  it("reads plain floats in the file itself, but for those whose rows rope has in another order", async () => {
    const path = tinyCopy("mapped");
    const mapped = await importGguf(path);
    const copied = await importGguf(path, { weights: "copied" });
    const written = ({ graphPath }: { graphPath: string }) => statSync(join(graphPath, "..", "weights.bin")).size;
    expect(written(mapped)).toBeLessThan(written(copied));
    expect(mapped.report.weightBytes).toBeLessThanOrEqual(copied.report.weightBytes);
    const files = graphOf(readModel(mapped.graphPath)).node.flatMap(({ name, attribute }) =>
      attribute.some((entry) => entry.name === "file") ? [name] : [],
    );
    expect(files.length).toBeGreaterThan(0);
    expect(files.filter((name) => /qkv(\.[01])?$/.test(name))).toEqual([]);
  });

  it("keeps weights in one file of aligned tensors beside a small graph", async () => {
    const { graphPath, report } = await importGguf(tinyCopy("files"), { weights: "copied" });
    const weights = join(graphPath, "..", "weights.bin");
    expect(statSync(weights).size).toBe(report.weightBytes);
    expect(statSync(graphPath).size).toBeLessThan(32_000);
    const graph = graphOf(readModel(graphPath));
    const places = graph.initializer.flatMap(({ external }) => (external ? [external] : []));
    expect(places.length).toBeGreaterThan(10);
    for (const { file, offset } of places) {
      expect(file).toBe(weights);
      expect(offset % 4096).toBe(0);
    }
  });

  it("tokenises as Hugging Face tokenizers does", async () => {
    const { tokenizer, config } = await importGguf(tinyCopy("tokens"));
    const { encode, decode } = bound(createTokenizer(tokenizer, config));
    for (const { text, ids } of golden.texts) {
      expect(encode(text, { addSpecialTokens: false, parseSpecial: true }), JSON.stringify(text)).toEqual(ids);
      expect(decode(ids)).toBe(text);
    }
    expect(tokenizer.tokenizerConfig).toMatchObject({ bos_token: "<|im_start|>", eos_token: "<|im_end|>" });
    expect(tokenizer.chatTemplate).toContain("m.content");
  });
});

function bound(tokenizer: ReturnType<typeof createTokenizer>) {
  return { encode: tokenizer.encode.bind(tokenizer), decode: tokenizer.decode.bind(tokenizer) };
}

describe("each tensor type", () => {
  const ids = Array.from({ length: 24 }, (_, i) => (7 * i + 3) % sizes.vocab);

  /** The same weights as `type` and as the floats they stand for. */
  function bothWays(type: TensorTypeName, tied: boolean): { quantised: TensorToWrite[]; plain: TensorToWrite[] } {
    const random = seeded(tensorType(type).id);
    const isFloat = type === "F16" || type === "BF16";
    const quantised = llamaTensors((_, elements) => {
      const bytes = isFloat ? randomFloats(type, elements, random) : randomBlocks(type, elements, random);
      return { type: tensorType(type).id, bytes };
    }).filter(({ name }) => !(tied && name === "output.weight"));
    const plain = quantised.map((tensor) => {
      if (!(tensor.name in matrixShapes())) return tensor;
      return { ...tensor, type: 0, bytes: new Uint8Array(dequantize(type, tensor.bytes).buffer) };
    });
    return { quantised, plain };
  }

  it.each(
    supportedTypes
      .filter((type) => type !== "F32")
      .flatMap((type) =>
        linearKinds.flatMap((linears) => [[type, linears, true] as const, [type, linears, false] as const]),
      ),
  )("%s by %s gives the logits of its dequantised weights (tied head: %s)", async (type, linears, tied) => {
    const { quantised, plain } = bothWays(type, tied);
    const load = (name: string, tensors: readonly TensorToWrite[]) =>
      importGguf(writeGguf(join(folder, `${name}-${type}-${tied}.gguf`), llamaMetadata, tensors), {
        linears,
        force: true,
      });
    const expected = await logitsOf(await load("plain", plain), ids);
    const actual = await logitsOf(await load("quantised", quantised), ids);
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(largest).toBeGreaterThan(0.05);
    expect(maxDifference(actual, expected)).toBeLessThan(5e-4 * largest);
  });
});

/** Normal-sized F16 or BF16 numbers. */
function randomFloats(type: TensorTypeName, elements: number, random: () => number): Uint8Array {
  const exponent = type === "F16" ? 0x2800 : 0x3d00;
  const bits = Uint16Array.from(
    { length: elements },
    () => exponent | (random() * 1024) | (random() < 0.5 ? 0x8000 : 0),
  );
  return new Uint8Array(bits.buffer);
}

describe("biases", () => {
  it("are added to q, k, v, the output and the feed-forward, rope's rows in order", async () => {
    const random = seeded(5);
    const { hidden, heads, kvHeads } = sizes;
    const keys = (hidden / heads) * kvHeads;
    const tensors = llamaTensors((_, elements) => ({ type: 8, bytes: randomBlocks("Q8_0", elements, random) }));
    const bias = (name: string, length: number) => {
      const values = Float32Array.from({ length }, () => random() - 0.5);
      return { name, type: 0, shape: [length], bytes: new Uint8Array(values.buffer) };
    };
    const biases = [
      bias("blk.0.attn_q.bias", hidden),
      bias("blk.0.attn_k.bias", keys),
      bias("blk.0.attn_v.bias", keys),
      bias("blk.0.attn_output.bias", hidden),
      bias("blk.0.ffn_down.bias", hidden),
    ];
    const load = (name: string, more: readonly TensorToWrite[]) =>
      importGguf(writeGguf(join(folder, `${name}.gguf`), llamaMetadata, [...tensors, ...more]), { force: true });
    // A token repeated: attention then gives the value itself, so the biases' effect does not depend on q and k.
    const without = await logitsOf(await load("unbiased", []), [5, 5, 5]);
    for (let i = 0; i < biases.length; i++) {
      const difference = maxDifference(await logitsOf(await load(`biased-${i}`, [biases[i]!]), [5, 5, 5]), without);
      if (i < 2) expect(difference).toBeLessThan(1e-3);
      else expect(difference).toBeGreaterThan(1e-2);
    }
    const ids = [5, 9, 2, 30, 11];
    const varied = await logitsOf(await load("unbiased", []), ids);
    expect(
      maxDifference(await logitsOf(await load("biased-q", [biases[0]!, biases[1]!]), ids), varied),
    ).toBeGreaterThan(1e-4);
  });
});

describe("what a GGUF lacks or has too much of", () => {
  const base = () => llamaTensors((_, elements) => ({ type: 8, bytes: randomBlocks("Q8_0", elements, seeded(1)) }));
  const load = (tensors: readonly TensorToWrite[]) =>
    importGguf(writeGguf(join(folder, "bad.gguf"), llamaMetadata, tensors), { force: true });

  it("names a missing tensor", async () => {
    await expect(load(base().filter(({ name }) => name !== "blk.0.ffn_up.weight"))).rejects.toMatchObject({
      code: "file_invalid",
      message: expect.stringMatching(/bad\.gguf: tensor "blk\.0\.ffn_up\.weight" is missing/),
    });
  });

  it("names a tensor of another shape", async () => {
    const tensors = base().map((tensor) =>
      tensor.name === "blk.0.attn_v.weight" ? { ...tensor, shape: [64, 512] } : tensor,
    );
    await expect(load(tensors)).rejects.toThrow('"blk.0.attn_v.weight" has shape [64, 512], [128, 256] was expected');
  });

  it("names tensors that it does not know", async () => {
    const extra = { name: "blk.0.attn_q_norm.weight", type: 0, shape: [4], bytes: new Uint8Array(16) };
    await expect(load([...base(), extra])).rejects.toMatchObject({
      code: "unsupported_graph",
      message: expect.stringContaining("1 tensors have no place in a 1-layer llama: blk.0.attn_q_norm.weight"),
    });
  });

  it("leaves nothing behind after a failed import, and loads once the file is good", async () => {
    await expect(load(base().slice(1))).rejects.toThrow("token_embd.weight");
    expect((await load(base())).cached).toBe(false);
  });

  it.each([
    ["SPARQ_ACTIVATIONS", "int8x2, int8"],
    ["SPARQ_LINEARS", "qlinear, matmulnbits"],
  ])("refuses an unknown kind in %s", async (variable, supported) => {
    vi.stubEnv(variable, "fp4");
    try {
      await expect(load(base())).rejects.toThrow(`${variable} is "fp4"; supported: ${supported}`);
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it("takes the kind of linears from the environment", async () => {
    vi.stubEnv("SPARQ_LINEARS", "matmulnbits");
    try {
      expect((await load(base())).report.weights).toBe("Q8_0 by matmulnbits; activations int8x2");
    } finally {
      vi.unstubAllEnvs();
    }
  });
});
