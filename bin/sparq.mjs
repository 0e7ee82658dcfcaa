#!/usr/bin/env node
// The executable. `npm start` and `npm run setup` compile what it loads.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

// ONNX Runtime's builds for npm report what is loaded and run to Microsoft, unless told not to before they are loaded.
process.env.ORT_DISABLE_TELEMETRY ??= "1";
const entry = new URL("../dist/server/cli/main.js", import.meta.url);
if (!existsSync(fileURLToPath(entry))) {
  console.error("sparq is not built yet: run `npm run setup` in its folder first");
  process.exit(1);
}
const { main } = await import(entry.href);
process.exitCode = await main(process.argv);
