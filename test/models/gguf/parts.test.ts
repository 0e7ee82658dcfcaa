import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ModelError } from "../../../models/errors.ts";
import { ggufStem, partName, partPath, withoutFurtherParts } from "../../../models/gguf/part-names.ts";
import { loadModel } from "../../../models/load.ts";
import { type MetadataToWrite, type TensorToWrite, writeGguf } from "../../support/gguf-file.ts";
import { llamaMetadata, llamaTensors, randomBlocks, seeded } from "../../support/gguf-llama.ts";
import { openFor, SequenceRunner } from "../../support/sequence-runner.ts";
import { removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

const random = seeded(3);
// A floating-point matrix among them, which is mapped in whichever part it is.
const tensors = llamaTensors((name, elements) => {
  if (!name.includes("ffn_down")) return { type: 8, bytes: randomBlocks("Q8_0", elements, random) };
  const values = Float32Array.from({ length: elements }, () => (random() - 0.5) / 8);
  return { type: 0, bytes: new Uint8Array(values.buffer) };
});
const COUNT = 3;

interface Part {
  readonly metadata: MetadataToWrite;
  readonly tensors: readonly TensorToWrite[];
}

/** As llama-gguf-split writes them: the first part has the metadata and no tensors. */
function split(): Part[] {
  return Array.from({ length: COUNT }, (_, i) => ({
    metadata: {
      ...(i === 0 ? llamaMetadata : {}),
      "split.no": i,
      "split.count": COUNT,
      "split.tensors.count": tensors.length,
    },
    tensors: i === 0 ? [] : tensors.filter((__, j) => j % (COUNT - 1) === i - 1),
  }));
}

/** A folder with the parts. */
function written(parts: readonly Part[] = split(), stem = "tiny"): string {
  const folder = temporaryFolder();
  for (const [i, { metadata, tensors: own }] of parts.entries()) {
    writeGguf(pathIn(folder, i + 1, stem), metadata, own);
  }
  return folder;
}

const pathIn = (folder: string, number: number, stem = "tiny") =>
  partPath({ stem: join(folder, stem), number, count: COUNT });

async function logitsOf(path: string): Promise<Float32Array> {
  const session = await openFor(await loadModel(path), 64);
  try {
    return await new SequenceRunner(session).run([5, 2, 9, 30, 11]);
  } finally {
    session.close();
  }
}

async function refusal(path: string): Promise<ModelError> {
  const error = await loadModel(path).catch((reason: unknown) => reason);
  if (!(error instanceof ModelError)) throw error;
  return error;
}

/** The parts with another value in one's metadata. */
function withValue(index: number, key: string, value: number | string): Part[] {
  return split().map((part, i) => (i === index ? { ...part, metadata: { ...part.metadata, [key]: value } } : part));
}

describe("a GGUF in several parts", () => {
  it("loads from its folder and from any part, as the whole would", async () => {
    const whole = await logitsOf(writeGguf(join(temporaryFolder(), "tiny.gguf"), llamaMetadata, tensors));
    const folder = written();
    for (const path of [folder, pathIn(folder, 1), pathIn(folder, 3)]) expect(await logitsOf(path)).toEqual(whole);
    const model = await loadModel(pathIn(folder, 2));
    expect(model).toMatchObject({ name: "tiny", source: pathIn(folder, 1), cached: true });
    expect(model.report.files.map(({ path }) => path)).toEqual([1, 2, 3].map((number) => pathIn(folder, number)));
  });

  it("is prepared anew when any part is another", async () => {
    const folder = written();
    await loadModel(folder);
    const { metadata, tensors: own } = split()[2]!;
    writeGguf(pathIn(folder, 3), { ...metadata, "another.key": 1 }, own);
    expect((await loadModel(folder)).cached).toBe(false);
  });

  it("is one of the models in a folder", async () => {
    const folder = written();
    copyFileSync(pathIn(folder, 1), join(folder, "another.gguf"));
    expect((await refusal(folder)).message).toContain("holds 2 GGUF files (another.gguf, tiny-00001-of-00003.gguf)");
  });

  it("names the parts that are missing", async () => {
    const folder = written();
    rmSync(pathIn(folder, 2));
    for (const path of [folder, pathIn(folder, 3)]) {
      const { code, message } = await refusal(path);
      expect(code).toBe("file_missing");
      expect(message).toContain(`is one of 3 parts, of which 1 are missing: ${pathIn(folder, 2)}`);
    }
  });

  it("must be called as its others are looked for", async () => {
    const folder = written();
    const path = join(folder, "second.gguf");
    copyFileSync(pathIn(folder, 2), path);
    expect((await refusal(path)).message).toContain(
      `${path} is part 2 of 3 by its metadata: the others are found if it is called name-00002-of-00003.gguf`,
    );
    copyFileSync(pathIn(folder, 2), pathIn(folder, 3));
    expect((await refusal(pathIn(folder, 1))).message).toContain(
      `${pathIn(folder, 3)}: split.no is 1; by the name it is 2`,
    );
  });

  it.each([
    [
      "another count",
      withValue(1, "split.count", 4),
      /part 2|tiny-00002-of-00003.gguf: split.count is 4; by .* it is 3/,
    ],
    [
      "other tensors",
      withValue(2, "split.tensors.count", 7),
      /tiny-00003-of-00003.gguf: split.tensors.count is 7; by .* it is \d+/,
    ],
    [
      "another model",
      withValue(2, "general.architecture", "gptneox"),
      /"gptneox", in .*tiny-00001.* it is "llama": they are no parts/,
    ],
    [
      "an impossible number",
      withValue(0, "split.no", 3),
      /split.no is 3; parts are counted from 0, and split.count is 3/,
    ],
  ])("is refused with a part of %s", async (_, parts, message) => {
    const { code, message: found } = await refusal(pathIn(written(parts), 1));
    expect(found).toMatch(message);
    expect(code).toMatch(/file_invalid|unsupported_config/);
  });

  it("is refused with a tensor twice, or one that is nowhere", async () => {
    const [first, second, third] = split() as [Part, Part, Part];
    const twice = [first, { ...second, tensors: [...second.tensors, third.tensors[0]!] }, third];
    expect((await refusal(written(twice))).message).toMatch(
      /^tensor ".*" is in .*-00002-of-00003.gguf and in .*-00003-of-00003.gguf$/,
    );
    const less = [first, second, { ...third, tensors: third.tensors.slice(1) }];
    expect((await refusal(written(less))).message).toContain(
      `split.tensors.count is ${tensors.length}, its 3 parts have ${tensors.length - 1}`,
    );
  });
});

describe("names of parts", () => {
  it("are taken apart and put together", () => {
    const path = "q/llama-00002-of-00010.gguf";
    expect(partName(path)).toEqual({ stem: "q/llama", number: 2, count: 10 });
    expect(partPath(partName(path)!)).toBe(path);
    expect([ggufStem(path), ggufStem("llama.gguf")]).toEqual(["q/llama", "llama"]);
    for (const other of ["llama.gguf", "llama-2-of-3.gguf", "llama-00001-of-00002.safetensors"]) {
      expect(partName(other)).toBeUndefined();
    }
  });

  it("leave one for each model", () => {
    const names = ["b.gguf", "a-00002-of-00002.gguf", "a-00001-of-00002.gguf", "a-00003-of-00003.gguf", "a.gguf"];
    expect(withoutFurtherParts(names, (name) => name)).toEqual([
      "b.gguf",
      "a-00001-of-00002.gguf",
      "a-00003-of-00003.gguf",
      "a.gguf",
    ]);
  });
});
