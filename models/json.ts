import { readFileSync } from "node:fs";
import { ModelError, messageOf } from "./errors.ts";

/** A JSON file that holds an object. Throws ModelError "file_missing" or "file_invalid", naming the file. */
export function readJsonFile(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new ModelError("file_missing", `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ModelError("file_invalid", `${path} is no valid JSON: ${messageOf(error)}`, { cause: error });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new ModelError("file_invalid", `${path} must hold a JSON object`);
}
