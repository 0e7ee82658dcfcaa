import { join } from "node:path";
import { packageRoot } from "../../../attention/root.ts";
import { readRecallSet } from "../../accuracy/recall.ts";
import { DataError, readText } from "./fields.ts";

/** A file of the samples that come with the repository; README.md there says whose they are. */
export function samplePath(name: string): string {
  return join(packageRoot(), "bench", "eval", "data", "sample", name);
}

/** A text of the reader's own, or the passages that come with the built-in models: public domain, not trained on. */
export function readLongText(path: string | undefined): string {
  return path === undefined ? readRecallSet().filler : nonEmpty(path, readText(path));
}

function nonEmpty(path: string, text: string): string {
  if (text.trim() === "") throw new DataError(`${path} is empty`);
  return text;
}
