import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { pulledModelsDir } from "../../models/registry.ts";

const NAME = "smollm2-135m-instruct";

export type Located = { readonly path: string } | { readonly missing: string };

/** The GGUF that tests on the real model use: what SPARQ_TEST_SMOLLM2 names, else the pulled one. */
export function locateSmolLm2(): Located {
  const named = process.env.SPARQ_TEST_SMOLLM2;
  if (named)
    return existsSync(named) ? { path: named } : { missing: `SPARQ_TEST_SMOLLM2 names ${named}, which is not there` };
  const folder = join(pulledModelsDir(), NAME);
  const file =
    existsSync(folder) && statSync(folder).isDirectory() && readdirSync(folder).find((f) => f.endsWith(".gguf"));
  if (file) return { path: join(folder, file) };
  return { missing: `no GGUF in ${folder}: run "sparq pull ${NAME}" or set SPARQ_TEST_SMOLLM2 to the file` };
}
