import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ModelError } from "../../../models/errors.ts";
import { headerLength, MOST_HEADER_BYTES, parseHeader } from "../../../models/safetensors/header.ts";
import { openSafetensors } from "../../../models/safetensors/reader.ts";
import { safetensorsBytes, type TensorToWrite } from "../../support/safetensors-file.ts";
import { removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

const path = "m/model.safetensors";

/** The header and what else a reader knows of a file. */
function parse(bytes: Uint8Array) {
  const length = headerLength(bytes.subarray(0, 8), path, bytes.length);
  return parseHeader(bytes.subarray(8, 8 + length), path, bytes.length);
}

/** A file whose header says what it is told to. */
function fileWith(header: unknown, dataBytes: number): Uint8Array {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(json.length));
  return new Uint8Array(Buffer.concat([start, json, Buffer.alloc(dataBytes)]));
}

function onDisk(bytes: Uint8Array): string {
  const file = join(temporaryFolder(), "model.safetensors");
  writeFileSync(file, bytes);
  return file;
}

const sizes = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, U8: 1 } as const;
const tensors: fc.Arbitrary<TensorToWrite[]> = fc.uniqueArray(
  fc
    .record({
      name: fc.string({ minLength: 1, maxLength: 12 }).filter((name) => name !== "__metadata__"),
      dtype: fc.constantFrom(...(Object.keys(sizes) as (keyof typeof sizes)[])),
      shape: fc.array(fc.nat(4), { maxLength: 3 }),
      seed: fc.nat(255),
    })
    .map(({ name, dtype, shape, seed }) => {
      const length = shape.reduce((product, size) => product * size, sizes[dtype]);
      return { name, dtype, shape, bytes: Uint8Array.from({ length }, (_, i) => seed + i) };
    }),
  { selector: ({ name }) => name, maxLength: 6 },
);

describe("a safetensors file", () => {
  it("gives back every tensor's type, shape and bytes", () => {
    fc.assert(
      fc.property(tensors, fc.nat(9), (written, padding) => {
        const file = openSafetensors(onDisk(safetensorsBytes(written, { padding })));
        try {
          expect([...file.tensors.keys()].sort()).toEqual(written.map(({ name }) => name).sort());
          for (const { name, dtype, shape, bytes } of written) {
            const tensor = file.tensors.get(name)!;
            expect(tensor).toMatchObject({ dtype, shape, bytes: bytes.length });
            expect(file.read(tensor)).toEqual(bytes);
          }
        } finally {
          file.close();
        }
      }),
      { numRuns: 40 },
    );
  });

  it("keeps names as they are, JSON's special ones too", () => {
    const file = fileWith('{"__proto__": {"dtype": "U8", "shape": [], "data_offsets": [0, 1]}}', 1);
    expect(parse(file)).toEqual([{ name: "__proto__", dtype: "U8", shape: [], offset: file.length - 1, bytes: 1 }]);
  });

  it("says when it has shrunk since it was opened", () => {
    const written = [{ name: "a", dtype: "U8", shape: [4], bytes: Uint8Array.of(1, 2, 3, 4) }];
    const file = onDisk(safetensorsBytes(written));
    const opened = openSafetensors(file);
    writeFileSync(file, safetensorsBytes(written).subarray(0, -1));
    expect(() => opened.read(opened.tensors.get("a")!)).toThrow(
      /has shrunk: tensor "a" of 4 bytes at \d+ ends after 3/,
    );
    opened.close();
  });
});

describe("a damaged safetensors file", () => {
  const entry = (changes: object) => ({ a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24], ...changes } });

  it.each([
    ["nothing in it", new Uint8Array(0), "file_truncated", "0 bytes, a safetensors file begins with 8"],
    [
      "a header past its end",
      fileWith({}, 0).subarray(0, 9),
      "file_truncated",
      "it has 9 bytes, its header ends at 10",
    ],
    [
      "a header of 2^64 - 1 bytes",
      new Uint8Array(8).fill(255),
      "file_invalid",
      "would have 18446744073709551615 bytes",
    ],
    ["no header", new Uint8Array(16), "file_invalid", "would have 0 bytes"],
    ["a header that is no JSON", fileWith("{a", 0), "file_invalid", "its header is no valid JSON"],
    ["a header that is a list", fileWith([], 0), "file_invalid", "must be a JSON object"],
    ["an entry that is a number", fileWith({ a: 1 }, 0), "file_invalid", 'tensor "a" has no entry that is an object'],
    ["an unknown type", fileWith(entry({ dtype: "F31" }), 24), "file_invalid", 'tensor "a" has dtype "F31"'],
    ["a type of Object's own", fileWith(entry({ dtype: "toString" }), 24), "file_invalid", 'has dtype "toString"'],
    ["no type", fileWith(entry({ dtype: undefined }), 24), "file_invalid", "has dtype missing"],
    ["a negative size", fileWith(entry({ shape: [-2, -3] }), 24), "file_invalid", "has shape [-2,-3]"],
    ["half an element", fileWith(entry({ shape: [1.5, 4] }), 24), "file_invalid", "has shape [1.5,4]"],
    [
      "a size beyond 2^53",
      fileWith(entry({ shape: [2 ** 60] }), 24),
      "file_invalid",
      "has shape [1152921504606847000]",
    ],
    [
      "a shape whose product overflows",
      fileWith(entry({ shape: [2 ** 40, 2 ** 40] }), 24),
      "file_invalid",
      'tensor "a" is F32 [1099511627776, 1099511627776], so 4.835703278458517e+24 bytes; its data_offsets give 24',
    ],
    [
      "a place too small",
      fileWith(entry({ data_offsets: [0, 20] }), 20),
      "file_invalid",
      "so 24 bytes; its data_offsets give 20",
    ],
    ["places backwards", fileWith(entry({ data_offsets: [24, 0] }), 24), "file_invalid", "has data_offsets [24,0]"],
    ["a negative place", fileWith(entry({ data_offsets: [-24, 0] }), 24), "file_invalid", "has data_offsets [-24,0]"],
    [
      "a hole at the beginning",
      fileWith(entry({ data_offsets: [8, 32] }), 32),
      "file_invalid",
      'tensor "a" leaves a hole',
    ],
    ["bytes that are no tensor's", fileWith(entry({}), 32), "file_invalid", "its tensors end at"],
    ["data past its end", fileWith(entry({}), 20), "file_truncated", 'tensor "a" is at'],
    [
      "two tensors in one place",
      fileWith({ ...entry({}), b: { dtype: "U8", shape: [24], data_offsets: [0, 24] } }, 24),
      "file_invalid",
      'tensor "b" overlaps the tensor before it',
    ],
  ] as const)("with %s is refused with the numbers", (_, bytes, code, message) => {
    expect(() => parse(bytes)).toThrow(expect.objectContaining({ code }));
    expect(() => parse(bytes)).toThrow(`${path}`);
    expect(() => parse(bytes)).toThrow(message);
  });

  it("is refused before memory is taken for what it says", () => {
    const claims = [
      fileWith("", 0),
      fileWith(entry({ shape: [2 ** 50], data_offsets: [0, 2 ** 52] }), 24),
      fileWith(entry({ shape: new Array(1000).fill(2 ** 50) }), 24),
    ];
    const start = new DataView(claims[0]!.buffer);
    start.setBigUint64(0, BigInt(MOST_HEADER_BYTES), true);
    const before = process.memoryUsage();
    for (const bytes of claims) expect(() => openSafetensors(onDisk(bytes))).toThrow(ModelError);
    const after = process.memoryUsage();
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(1e6);
  });

  it("never gives anything but tensors inside the file, or a ModelError", () => {
    const valid = safetensorsBytes([
      { name: "a", dtype: "F32", shape: [2, 3], bytes: new Uint8Array(24) },
      { name: "b", dtype: "BF16", shape: [5], bytes: new Uint8Array(10) },
    ]);
    const mutation = fc.record({
      at: fc.nat(valid.length - 1),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 4 }),
    });
    const cut = fc.option(fc.nat(valid.length));
    fc.assert(
      fc.property(fc.array(mutation, { maxLength: 4 }), cut, (mutations, end) => {
        const bytes = valid.slice();
        for (const { at, bytes: with_ } of mutations) bytes.set(with_.subarray(0, bytes.length - at), at);
        const damaged = end === null ? bytes : bytes.subarray(0, end);
        try {
          for (const { offset, bytes: size, shape } of parse(damaged)) {
            expect(offset + size).toBeLessThanOrEqual(damaged.length);
            expect(offset).toBeGreaterThanOrEqual(8);
            expect(shape.every(Number.isSafeInteger)).toBe(true);
          }
        } catch (error) {
          if (!(error instanceof ModelError)) throw error;
          expect(error.message).toContain(path);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("names a file that is not there", () => {
    expect(() => openSafetensors("/nowhere/model.safetensors")).toThrow("cannot read /nowhere/model.safetensors");
  });
});
