import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { graphFile, type PreparedGraph, prepareGraph, weightsFile } from "../../models/cache.ts";
import type { ImportReport, LoadModelOptions } from "../../models/types.ts";
import { removeTemporaryFolders, temporaryFolder } from "./exports.ts";

removeTemporaryFolders();

/** A model folder with a source file, and a builder that counts how often it is asked. */
class Source {
  readonly folder = temporaryFolder();
  readonly cacheDir = temporaryFolder();
  readonly file = join(this.folder, "source.onnx");
  readonly weights = join(this.folder, "source.onnx_data");
  builds = 0;
  graph = "graph";
  failure: Error | undefined;

  constructor() {
    writeFileSync(this.file, "source");
    writeFileSync(this.weights, "weights");
  }

  prepare(options: LoadModelOptions = {}): Promise<PreparedGraph> {
    return prepareGraph({
      folder: this.folder,
      label: "source",
      files: [this.file],
      options: { cacheDir: this.cacheDir, ...options },
      build: async (target) => {
        this.builds += 1;
        writeFileSync(join(target, graphFile), this.graph);
        if (this.failure) throw this.failure;
        writeFileSync(join(target, weightsFile), "prepared weights");
        return {
          format: "onnx",
          files: [{ path: this.weights, bytes: 7 }],
          selfCheck: this.builds,
        } as unknown as ImportReport;
      },
    });
  }
}

describe("prepared graphs", () => {
  it("are made once, beside the model", async () => {
    const source = new Source();
    const first = await source.prepare();
    expect(first).toMatchObject({ cached: false, graphPath: join(source.folder, ".sparq", "source", graphFile) });
    expect(readFileSync(first.graphPath, "utf8")).toBe("graph");
    const second = await source.prepare();
    expect(second).toEqual({ ...first, cached: true });
    expect(source.builds).toBe(1);
  });

  it("are remade when forced", async () => {
    const source = new Source();
    await source.prepare();
    source.graph = "another";
    const { cached, graphPath } = await source.prepare({ force: true });
    expect([cached, readFileSync(graphPath, "utf8")]).toEqual([false, "another"]);
  });

  it.each([
    ["its size", (source: Source) => writeFileSync(source.file, "another source")],
    ["its time", (source: Source) => utimesSync(source.file, 1, 1)],
    ["a file that the report names", (source: Source) => writeFileSync(source.weights, "other weights")],
  ])("are remade when the source changed: %s", async (_, change) => {
    const source = new Source();
    await source.prepare();
    change(source);
    expect(await source.prepare()).toMatchObject({ cached: false });
    expect(await source.prepare()).toMatchObject({ cached: true });
  });

  it.each([
    ["graph changed", graphFile, (path: string) => writeFileSync(path, "GRAPH")],
    ["weights cut", weightsFile, (path: string) => truncateSync(path, 3)],
    ["manifest cut", "sparq.json", (path: string) => truncateSync(path, statSync(path).size / 2)],
    ["manifest empty", "sparq.json", (path: string) => writeFileSync(path, "")],
    ["manifest of something else", "sparq.json", (path: string) => writeFileSync(path, "[1]")],
  ])("are remade when damaged: %s", async (_, name, damage) => {
    const source = new Source();
    const { graphPath } = await source.prepare();
    damage(join(graphPath, "..", name));
    const remade = await source.prepare();
    expect([remade.cached, readFileSync(remade.graphPath, "utf8")]).toEqual([false, "graph"]);
    expect(await source.prepare()).toMatchObject({ cached: true });
  });

  it("go to the cache folder when the model's own cannot be used", async () => {
    const source = new Source();
    writeFileSync(join(source.folder, ".sparq"), "a file where the folder should be");
    const { graphPath, cached } = await source.prepare();
    expect(graphPath.startsWith(join(source.cacheDir, "graphs"))).toBe(true);
    expect(cached).toBe(false);
    expect(await source.prepare()).toMatchObject({ cached: true, graphPath });
  });

  it("tell both reasons when no folder can be written", async () => {
    const source = new Source();
    writeFileSync(join(source.folder, ".sparq"), "");
    const blocked = join(source.folder, "blocked");
    writeFileSync(blocked, "");
    await expect(source.prepare({ cacheDir: blocked })).rejects.toThrow(
      /no folder .* can be written: .*\.sparq.*; .*blocked/s,
    );
    expect(source.builds).toBe(0);
  });

  it("leave nothing behind when the import fails, and keep the old one", async () => {
    const source = new Source();
    source.failure = new Error("unprovable");
    await expect(source.prepare()).rejects.toThrow("unprovable");
    expect(readdirSync(join(source.folder, ".sparq"))).toEqual([]);
    source.failure = undefined;
    const { graphPath } = await source.prepare();
    source.failure = new Error("unprovable");
    await expect(source.prepare({ force: true })).rejects.toThrow("unprovable");
    expect(readFileSync(graphPath, "utf8")).toBe("graph");
    expect(readdirSync(join(source.folder, ".sparq"))).toEqual(["source"]);
  });

  it("made twice at the same time are both whole", async () => {
    const source = new Source();
    const both = await Promise.all([source.prepare(), source.prepare()]);
    expect(both.map(({ graphPath }) => readFileSync(graphPath, "utf8"))).toEqual(["graph", "graph"]);
    expect(readdirSync(join(source.folder, ".sparq"))).toEqual(["source"]);
  });

  it("clear away what a process left that died long ago, and only that", async () => {
    const source = new Source();
    const [old, recent, other] = ["source.1.1.tmp", "source.2.1.tmp", "source2"].map((name) =>
      join(source.folder, ".sparq", name),
    );
    for (const folder of [old!, recent!, other!]) mkdirSync(folder, { recursive: true });
    for (const folder of [old!, other!]) utimesSync(folder, 1, 1);
    await source.prepare();
    expect([old, recent, other].map((folder) => existsSync(folder!))).toEqual([false, true, true]);
  });
});
