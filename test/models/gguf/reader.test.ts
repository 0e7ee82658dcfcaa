import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf as readByLibrary } from "@huggingface/gguf";
import { afterAll, describe, expect, it } from "vitest";
import { openGguf } from "../../../models/gguf/reader.ts";
import { ggufBytes, writeGguf } from "../../support/gguf-file.ts";
import { goldenPath } from "../../support/golden.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-gguf-reader-"));
afterAll(() => rmSync(folder, { recursive: true }));

const f32 = (name: string, values: readonly number[], shape: readonly number[] = [values.length]) => {
  return { name, shape, type: 0, bytes: new Uint8Array(Float32Array.from(values).buffer) };
};
const metadata = { "general.architecture": "llama", "a.list": ["x", "y"], "a.flag": true };
const tensors = [f32("first", [1, 2, 3, 4, 5, 6], [2, 3]), f32("second", [7, 8])];

/** A file with the given bytes; its path. */
function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

describe("openGguf", () => {
  it("reads metadata, shapes and tensors", async () => {
    const gguf = await openGguf(writeGguf(join(folder, "good.gguf"), metadata, tensors));
    expect(gguf.metadata.values).toMatchObject(metadata);
    expect([...gguf.tensors.keys()]).toEqual(["first", "second"]);
    const first = gguf.tensors.get("first")!;
    expect(first).toMatchObject({ shape: [2, 3], bytes: 24, type: { name: "F32" } });
    expect(new Float32Array(gguf.read(first).buffer)).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
    expect(new Float32Array(gguf.read(gguf.tensors.get("second")!).buffer)).toEqual(Float32Array.of(7, 8));
    gguf.close();
  });

  it("reads what another library reads in a file that a third one wrote", async () => {
    const path = goldenPath("gguf", "tiny.gguf");
    const [file, theirs] = [await openGguf(path), await readByLibrary(path, { allowLocalFile: true })];
    file.close();
    const { version, tensor_count, kv_count, ...metadata } = theirs.metadata;
    expect(file.metadata.values).toEqual(metadata);
    expect([...file.tensors.values()].map(({ name, shape, offset, type }) => [name, shape, offset, type.id])).toEqual(
      theirs.tensorInfos.map(({ name, shape, offset, dtype }) => [
        name,
        shape.map(Number).reverse(),
        Number(theirs.tensorDataOffset + offset),
        dtype,
      ]),
    );
  });

  it("reads lists that are longer than what is read at once", async () => {
    const words = Array.from({ length: 150_000 }, (_, i) => `token number ${i} of very many`);
    const gguf = await openGguf(writeGguf(join(folder, "long.gguf"), { ...metadata, words }, tensors));
    expect(gguf.metadata.values.words).toEqual(words);
    expect(new Float32Array(gguf.read(gguf.tensors.get("second")!).buffer)).toEqual(Float32Array.of(7, 8));
    gguf.close();
  });

  it("names a missing file", async () => {
    const path = join(folder, "nowhere.gguf");
    await expect(openGguf(path)).rejects.toMatchObject({
      code: "file_missing",
      message: expect.stringContaining(path),
    });
  });

  it.each([
    ["empty", "", "begins with nothing"],
    ["zip", "PK\u0003\u0004 something else entirely, long enough", "begins with 504b0304"],
  ])("refuses a foreign file: %s", async (name, content, message) => {
    await expect(openGguf(file(name, Buffer.from(content)))).rejects.toMatchObject({
      code: "file_invalid",
      message: expect.stringContaining(message),
    });
  });

  it("refuses other versions and byte orders", async () => {
    const bytes = ggufBytes(metadata, tensors);
    bytes.writeUInt32LE(9, 4);
    await expect(openGguf(file("v9", bytes))).rejects.toThrow("its version is 9");
    bytes.writeUInt32BE(3, 4);
    await expect(openGguf(file("big", bytes))).rejects.toThrow("big-endian");
  });

  it("notices a cut at every place, with the numbers", async () => {
    const whole = ggufBytes(metadata, tensors);
    // Until inside the last tensor: what follows its 8 bytes is padding.
    const lastData = whole.length - 32 + 8;
    for (let length = 4; length < lastData; length += 1) {
      const path = file("cut.gguf", whole.subarray(0, length));
      const error = await openGguf(path).then(
        () => undefined,
        (reason) => reason,
      );
      expect(error, `cut at ${length}`).toMatchObject({
        name: "ModelError",
        message: expect.stringContaining("truncated"),
      });
      expect(error.message).toContain(path);
      expect(error.message).toContain(String(length));
    }
  });

  it("names the tensor that a truncated file lacks", async () => {
    const whole = ggufBytes(metadata, tensors);
    const path = file("short.gguf", whole.subarray(0, whole.length - 30));
    await expect(openGguf(path)).rejects.toMatchObject({
      code: "file_truncated",
      message: expect.stringMatching(/"second" is at \d+ to \d+/),
    });
  });

  it("notices a file that shrinks while it is open", async () => {
    const path = writeGguf(join(folder, "shrinking.gguf"), metadata, tensors);
    const gguf = await openGguf(path);
    const second = gguf.tensors.get("second")!;
    truncateSync(path, second.offset + 3);
    expect(() => gguf.read(second)).toThrow(/"second" of 8 bytes at \d+ ends after 3/);
    gguf.close();
  });

  it("names a tensor of an unknown type", async () => {
    const strange = { name: "blk.0.odd", type: 16, shape: [256], bytes: new Uint8Array(66) };
    await expect(openGguf(writeGguf(join(folder, "iq.gguf"), metadata, [strange]))).rejects.toMatchObject({
      code: "unsupported_graph",
      message: expect.stringMatching(/tensor "blk.0.odd" has type IQ2_XXS; supported: F32, F16/),
    });
  });

  it("refuses rows that are no whole blocks", async () => {
    const odd = { name: "odd", type: 8, shape: [2, 48], bytes: new Uint8Array(102) };
    await expect(openGguf(writeGguf(join(folder, "odd.gguf"), metadata, [odd]))).rejects.toThrow(
      'tensor "odd" has rows of 48 elements, Q8_0 needs a multiple of 32',
    );
  });
});
