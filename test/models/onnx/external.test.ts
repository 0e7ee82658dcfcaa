import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ModelError } from "../../../models/errors.ts";
import {
  DataType,
  encodeModel,
  floatTensor,
  graphOf,
  type ModelProto,
  makeModel,
  makeNode,
  makeValueInfo,
  readModel,
  tensorBytes,
  writeModel,
} from "../../../models/onnx/proto.ts";
import { preparedLogits } from "../../../models/onnx/self-check.ts";
import {
  editedExport,
  exportsFolder,
  importFolder,
  readGolden,
  removeTemporaryFolders,
  temporaryFolder,
} from "../exports.ts";

removeTemporaryFolders();

/** Weights of 8, 4096 and 40 bytes. */
function model(): ModelProto {
  const weights = [2, 1024, 10].map((size, i) =>
    floatTensor(
      `w${i}`,
      [size],
      Float32Array.from({ length: size }, (_, j) => i + j),
    ),
  );
  return makeModel({
    name: "weights",
    nodes: [makeNode("Identity", ["w1"], ["y"])],
    initializers: weights,
    inputs: [],
    outputs: [makeValueInfo("y", DataType.FLOAT, [1024])],
    opsets: { "": 20 },
  });
}

function written(options: { threshold?: number } = {}): string {
  const path = join(temporaryFolder(), "model.onnx");
  writeModel(path, model(), { externalData: { location: "weights.bin", ...options } });
  return path;
}

function entries(path: string): Record<string, string>[] {
  return graphOf(readModel(path)).initializer.map(({ externalData }) =>
    Object.fromEntries(externalData.map(({ key, value }) => [key, value])),
  );
}

/** The model's bytes with an external tensor's entry changed. */
function withEntry(path: string, key: string, value: string): string {
  const changed = readModel(path);
  for (const tensor of graphOf(changed).initializer) {
    for (const entry of tensor.externalData) if (entry.key === key) entry.value = value;
  }
  writeFileSync(path, encodeModel(changed));
  return path;
}

/** The bytes of all weights, plain arrays so that views of buffers compare by content. */
function weights(source: ModelProto): number[][] {
  return graphOf(source).initializer.map((tensor) => [...tensorBytes(tensor)]);
}

function errorOf(run: () => unknown): ModelError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ModelError);
    return error as ModelError;
  }
  throw new Error("nothing was thrown");
}

describe("external data", () => {
  it("puts large tensors on pages of the weights file and keeps small ones", () => {
    const path = written({ threshold: 40 });
    expect(entries(path)).toEqual([
      {},
      { location: "weights.bin", offset: "0", length: "4096" },
      { location: "weights.bin", offset: "4096", length: "40" },
    ]);
    expect(statSync(join(path, "../weights.bin")).size).toBe(4136);
    expect(weights(readModel(path))).toEqual(weights(model()));
  });

  it("moves nothing below 1024 bytes by default", () => {
    expect(entries(written()).map((entry) => entry.length)).toEqual([undefined, "4096", undefined]);
  });

  it("does not change the model that it writes", () => {
    const source = model();
    const before = encodeModel(source);
    writeModel(join(temporaryFolder(), "model.onnx"), source, { externalData: { location: "w", threshold: 0 } });
    expect(encodeModel(source)).toEqual(before);
  });

  it("takes everything back into one file", () => {
    const path = written({ threshold: 0 });
    const single = join(temporaryFolder(), "single.onnx");
    writeModel(single, readModel(path));
    expect(entries(single)).toEqual([{}, {}, {}]);
    expect(weights(readModel(single))).toEqual(weights(model()));
  });

  it("leaves no files behind when a write fails", () => {
    const broken = model();
    graphOf(broken).initializer[1]!.rawData = new Uint8Array(5000);
    const path = join(temporaryFolder(), "model.onnx");
    expect(() => writeModel(path, broken, { externalData: { location: "weights.bin" } })).toThrow(
      /needs 4096 bytes and has 5000/,
    );
    expect([path, join(path, "../weights.bin")].filter((file) => existsSync(file))).toEqual([]);
  });

  it("reads an export whose weights lie beside it", () => {
    const path = join(exportsFolder, "neox-script-sdpa-18-f16-external", "model.onnx");
    const external = graphOf(readModel(path)).initializer.filter((tensor) => tensor.external);
    expect(external.length).toBeGreaterThan(5);
    const data = readFileSync(`${path}_data`);
    for (const tensor of external) {
      const { offset, length } = tensor.external!;
      expect(Buffer.compare(tensorBytes(tensor), data.subarray(offset, offset + length))).toBe(0);
    }
  });

  it("reads tensors from several files, and from beyond 4 GB of one", async () => {
    const folder = editedExport("llama-dynamo-sdpa-18");
    const path = join(folder, "model.onnx");
    const source = readModel(path);
    // A file with holes: 5 GB long, some kilobytes on disk.
    const far = 5 * 2 ** 30;
    writeModel(path, source, { externalData: { location: "near.bin", threshold: 256 } });
    const data = readFileSync(join(folder, "near.bin"));
    const descriptor = openSync(join(folder, "far.bin"), "w");
    writeSync(descriptor, data, 0, data.length, far);
    closeSync(descriptor);
    const split = readModel(path);
    for (const [i, tensor] of graphOf(split).initializer.entries()) {
      if (i % 2 === 0 || !tensor.external) continue;
      const entry = (key: string) => tensor.externalData.find((one) => one.key === key)!;
      entry("location").value = "far.bin";
      entry("offset").value = String(far + tensor.external.offset);
    }
    writeFileSync(path, encodeModel(split));

    const files = graphOf(readModel(path)).initializer.flatMap(({ external }) => external?.file ?? []);
    expect(new Set(files)).toEqual(new Set(["near.bin", "far.bin"].map((name) => join(folder, name))));
    expect(weights(readModel(path))).toEqual(weights(source));
    const { report, graphPath, config } = await importFolder(folder);
    expect(report.files.map(({ path: file }) => file)).toEqual(expect.arrayContaining([join(folder, "far.bin")]));
    const { prompt, logits } = readGolden(folder);
    const actual = await preparedLogits(graphPath, prompt, config);
    expect(Math.max(...actual.map((value, i) => Math.abs(value - logits[i]!)))).toBeLessThan(2e-4);

    truncateSync(join(folder, "far.bin"), far);
    expect(errorOf(() => readModel(path)).message).toMatch(
      new RegExp(`far\\.bin is truncated: it has ${far} bytes, tensor ".*" of .* is at 53687\\d{5} to 53687`),
    );
  });

  it("names a weights file that is missing, and the tensor in it", () => {
    const path = written();
    rmSync(join(path, "../weights.bin"));
    const error = errorOf(() => readModel(path));
    expect(error.code).toBe("file_missing");
    expect(error.message).toContain(`${join(path, "../weights.bin")} is missing`);
    expect(error.message).toContain('tensor "w1" (4096 bytes)');
  });

  it("tells a truncated weights file with the sizes", () => {
    const path = written();
    truncateSync(join(path, "../weights.bin"), 4000);
    const error = errorOf(() => readModel(path));
    expect(error.code).toBe("file_truncated");
    expect(error.message).toContain("it has 4000 bytes");
    expect(error.message).toContain('tensor "w1"');
    expect(error.message).toContain("0 to 4096");
  });

  it.each(["../secret.bin", "/etc/passwd", "a/../../b", ""])(
    "refuses the location %j outside the model's folder",
    (location) => {
      const error = errorOf(() => readModel(withEntry(written(), "location", location)));
      expect(error.code).toBe("file_invalid");
      expect(error.message).toContain(JSON.stringify(location));
    },
  );

  it.each([
    ["length", "17", /needs 4096 bytes, its entry .* says 17/],
    ["offset", "-1", /offset "-1"/],
    ["offset", "1e3", /offset "1e3"/],
    ["offset", "99999999", /truncated/],
  ])("refuses an entry with %s %s", (key, value, message) => {
    expect(errorOf(() => readModel(withEntry(written(), key, value))).message).toMatch(message);
  });
});
