import { existsSync } from "node:fs";
import { join } from "node:path";
import { readJsonFile } from "./json.ts";

type Json = Readonly<Record<string, unknown>>;

/** What a Hugging Face model folder says of the model. */
export interface ConfigFiles {
  /** Of config.json. */
  readonly path: string;
  readonly config: Json;
  /** generation_config.json, if there is one. */
  readonly generation: Json | undefined;
}

/** Throws ModelError for a file that is missing or no JSON object. */
export function readConfigFiles(folder: string): ConfigFiles {
  const path = join(folder, "config.json");
  const generation = join(folder, "generation_config.json");
  return {
    path,
    config: readJsonFile(path),
    generation: existsSync(generation) ? readJsonFile(generation) : undefined,
  };
}
