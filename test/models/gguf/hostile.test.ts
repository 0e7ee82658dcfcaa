/**
 * Damaged and hostile GGUF files: whatever the bytes say, an import gives a model or a ModelError, in bounded memory and
 * time.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { ModelError } from "../../../models/errors.ts";
import { importGguf } from "../../../models/gguf/import.ts";
import { openGguf } from "../../../models/gguf/reader.ts";
import { ggufBytes, type MetadataToWrite } from "../../support/gguf-file.ts";
import { llamaMetadata, llamaTensors, randomBlocks, seeded } from "../../support/gguf-llama.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-gguf-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** SentencePiece's lists in place of merges: more kinds of values. */
const metadata: MetadataToWrite = {
  ...llamaMetadata,
  "tokenizer.ggml.model": "llama",
  "tokenizer.ggml.scores": Array.from({ length: 40 }, (_, i) => -i - 0.5),
  "tokenizer.ggml.add_bos_token": true,
  "tokenizer.chat_template": "{{ messages[0].content }}",
  "llama.rope.freq_base": 10_000.5,
};
const tensors = llamaTensors((_, elements) => ({ type: 2, bytes: randomBlocks("Q4_0", elements, seeded(1)) }));
const whole = ggufBytes(metadata, tensors);
/** Where the tensors' data begins: all before it is metadata. */
const headerBytes = whole.length - tensors.reduce((sum, { bytes }) => sum + Math.ceil(bytes.length / 32) * 32, 0);

let files = 0;

interface Outcome {
  readonly error: unknown;
  /** Bytes by which memory grew meanwhile. */
  readonly grown: number;
}

async function measured(work: () => Promise<unknown>): Promise<Outcome> {
  const used = () => process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
  const before = used();
  const error = await work().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { error, grown: used() - before };
}

async function outcome(bytes: Uint8Array): Promise<Outcome> {
  const path = join(folder, `${files++}.gguf`);
  writeFileSync(path, bytes);
  const result = await measured(() => importGguf(path));
  rmSync(path);
  rmSync(join(folder, ".sparq"), { recursive: true, force: true });
  return result;
}

/** Damage to some bytes of the header: flipped, overwritten by extreme numbers, cut out or doubled. */
const damage = fc.record({
  at: fc.nat(headerBytes - 1),
  kind: fc.constantFrom("flip", "u32", "u64", "cut", "double", "end"),
  value: fc.constantFrom(
    0n,
    1n,
    0x7fn,
    0xffn,
    0xffffn,
    0x7fffffffn,
    0xffffffffn,
    2n ** 40n,
    2n ** 53n,
    2n ** 63n,
    2n ** 64n - 1n,
  ),
  bits: fc.integer({ min: 1, max: 255 }),
  length: fc.integer({ min: 1, max: 64 }),
});

type Damage = typeof damage extends fc.Arbitrary<infer T> ? T : never;

function damaged(bytes: Buffer, { at, kind, value, bits, length }: Damage): Buffer {
  const out = Buffer.from(bytes);
  switch (kind) {
    case "flip":
      out[at] = out[at]! ^ bits;
      return out;
    case "u32":
      out.writeUInt32LE(Number(value & 0xffffffffn), at);
      return out;
    case "u64":
      out.writeBigUInt64LE(value, at);
      return out;
    case "cut":
      return Buffer.concat([out.subarray(0, at), out.subarray(at + length)]);
    case "double":
      return Buffer.concat([out.subarray(0, at + length), out.subarray(at)]);
    default:
      return out.subarray(0, at);
  }
}

/** More than this model and its graph take; less than a count of the file's could ask for. */
const MOST_GROWTH = 64e6;

describe("a GGUF with damage in its header", () => {
  it("is imported or refused with a ModelError that names it", async () => {
    const codes = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 3 }), async (damages) => {
        let bytes: Buffer = whole;
        for (const one of damages) {
          if (bytes.length > 80) bytes = damaged(bytes, { ...one, at: Math.min(one.at, bytes.length - 80) });
        }
        const { error, grown } = await outcome(bytes);
        expect(grown).toBeLessThan(MOST_GROWTH);
        if (error === undefined) return;
        if (!(error instanceof ModelError)) throw error;
        expect(error.message).toContain(folder);
        codes.add(error.code);
      }),
      { seed: 31, numRuns: 150 },
    );
    expect([...codes].sort()).toEqual(expect.arrayContaining(["file_invalid", "file_truncated", "unsupported_config"]));
  });

  it("is good without it", async () => {
    expect((await outcome(whole)).error).toBeUndefined();
  });
});

/** A header's magic and version, then 64-bit and 32-bit numbers and strings. */
function header(...parts: (bigint | number | string | Uint8Array)[]): Buffer {
  const encoded = parts.map((part) => {
    if (part instanceof Uint8Array) return part;
    const out = Buffer.alloc(typeof part === "number" ? 4 : 8);
    if (typeof part === "number") out.writeUInt32LE(part);
    else out.writeBigUInt64LE(typeof part === "bigint" ? part : BigInt(Buffer.byteLength(part)));
    return typeof part === "string" ? Buffer.concat([out, Buffer.from(part)]) : out;
  });
  return Buffer.concat([Buffer.from("GGUF\x03\0\0\0", "latin1"), ...encoded]);
}

describe("what a header claims", () => {
  const huge = 2n ** 63n;
  it.each([
    ["tensors", header(huge, 0n), /the number of tensors, 9223372036854776000: that many at 16 needs/],
    ["metadata entries", header(0n, 2n ** 32n), /the number of metadata entries, 4294967296: that many/],
    ["a string", header(0n, 1n, "a.key", 8, huge), /the value of a\.key at \d+ needs 9223372036854776000 bytes/],
    ["a key", header(0n, 1n, huge, new Uint8Array(20)), /the key of metadata entry 0 of 1/],
    ["numbers", header(0n, 1n, "a.list", 9, 4, huge), /the list a\.list of 9223372036854776000 elements/],
    [
      "strings",
      header(0n, 1n, "a.list", 9, 8, 1000n, new Uint8Array(500)),
      /list a\.list of 1000 elements at \d+ needs 8000/,
    ],
    ["no type", header(0n, 1n, "a.key", 13, 0n), "the value of a.key has type 13"],
    ["a list of no type", header(0n, 1n, "a.key", 9, 99, 0n), "the list a.key is of type 99"],
    [
      "lists in lists",
      header(0n, 1n, "a.list", 9, ...Array.from({ length: 6 }, () => [9, 1n]).flat(), 0, 1n, new Uint8Array(40)),
      "more than 4 deep",
    ],
    [
      "too many elements",
      header(0n, 1n, "a.list", 9, 0, 4_000_001n, new Uint8Array(4_000_001)),
      "has 4000001 elements",
    ],
    ["too many tensors", header(100_001n, 0n, new Uint8Array(2_400_100)), "the number of tensors is 100001"],
    ["a key twice", header(0n, 2n, "a.key", 0, new Uint8Array(1), "a.key", 0, new Uint8Array(1)), '"a.key" twice'],
    ["rank", header(1n, 0n, "w", 5, new Uint8Array(90)), 'tensor "w" has 5 dimensions'],
    ["no elements", header(1n, 0n, "w", 2, 4n, 0n, 0, 0n), 'tensor "w" has the shape [0, 4]'],
    ["elements", header(1n, 0n, "w", 2, huge, huge, 0, 0n), /tensor "w" is at 96 to 3\.4\d+e\+38/],
    ["a place", header(1n, 0n, "w", 1, 4n, 0, huge), /tensor "w" is at 9223372036854776000 to/],
    ["two tensors", header(2n, 0n, "w", 1, 4n, 0, 0n, "w", 1, 4n, 0, 0n, new Uint8Array(64)), 'two tensors "w"'],
    ["alignment", header(0n, 1n, "general.alignment", 4, 48), "general.alignment is 48"],
  ])("%s: is compared with the file before anything is made for it", async (name, bytes, message) => {
    const path = join(folder, `${name}.gguf`);
    writeFileSync(path, bytes);
    const { error, grown } = await measured(() => openGguf(path));
    expect(error).toBeInstanceOf(ModelError);
    expect((error as ModelError).message).toMatch(message);
    expect((error as ModelError).message).toContain(path);
    expect(grown).toBeLessThan(MOST_GROWTH);
  });
});

describe("metadata that the tensors do not bear out", () => {
  const load = async (changes: Record<string, unknown>) => {
    return (await outcome(ggufBytes({ ...metadata, ...changes } as MetadataToWrite, tensors))).error;
  };
  it.each([
    [{ "llama.block_count": 0xffffffff }, "its tensors are of 1 blocks, the last blk.0; block_count is 4294967295"],
    [{ "llama.block_count": 2 }, "block_count is 2"],
    [{ "llama.embedding_length": 0xfffffffe }, "a head has 2147483647 components, at most 65536"],
    [{ "llama.attention.key_length": 0xfffffffe, "llama.attention.value_length": 0xfffffffe }, "at most 65536"],
    [{ "llama.embedding_length": 512 }, '"token_embd.weight" has shape [40, 256]; by the metadata it is [40, 512]'],
    [{ "llama.feed_forward_length": 0x7fffffff }, '"blk.0.ffn_up.weight" has shape [256, 256]; by the metadata it is'],
    [
      { "llama.attention.head_count": 4 },
      '"blk.0.attn_k.weight" has shape [128, 256]; by the metadata it is [64, 256]',
    ],
    [
      { "tokenizer.ggml.tokens": ["a"], "tokenizer.ggml.token_type": [1], "tokenizer.ggml.scores": [0.5] },
      '"token_embd.weight" has shape [40, 256]; by the metadata it is [1, 256]',
    ],
    [
      { "tokenizer.ggml.tokens": ["a".repeat(600), ...Array.from({ length: 39 }, (_, i) => `token ${i}`)] },
      "a token of 600 characters at 0, at most 512",
    ],
  ])("%#", async (changes, message) => {
    const error = await load(changes);
    expect(error).toBeInstanceOf(ModelError);
    expect((error as ModelError).message).toContain(message);
  });
});
