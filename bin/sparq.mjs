#!/usr/bin/env node
// The executable. `npm start` and `npm run setup` compile what it loads.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const entry = new URL("../dist/server/cli/main.js", import.meta.url);
if (!existsSync(fileURLToPath(entry))) {
  console.error("sparq is not built yet: run `npm run setup` in its folder first");
  process.exit(1);
}
const { main } = await import(entry.href);
process.exitCode = await main(process.argv);
