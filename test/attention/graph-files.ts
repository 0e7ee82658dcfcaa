import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { encodeModel, type ModelProto } from "../../models/onnx/proto.ts";

/** A temporary folder for the calling test file, removed when its tests are done, and a way to put graphs into it. */
export function graphFolder() {
  const folder = mkdtempSync(join(tmpdir(), "sparq-test-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return {
    path: (name: string) => join(folder, name),
    /** Writes a model, or any bytes, and returns the path. */
    write(name: string, content: ModelProto | Uint8Array): string {
      const path = join(folder, name);
      writeFileSync(path, content instanceof Uint8Array ? content : encodeModel(content));
      return path;
    },
  };
}
