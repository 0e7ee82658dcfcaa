import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../attention/root.ts";

/** The package's version. */
export const version: string = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")).version;
