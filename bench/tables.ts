/**
 * Fills the tables of README.md and docs/ and draws docs/images/ from the results under bench/results/: node dist/bench/tables.js.
 * With --check nothing is written, and the exit code is 1 if something is not as it would be.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Command } from "commander";
import { packageRoot } from "../attention/root.ts";
import { documents } from "./tables/documents.ts";

const { check } = new Command()
  .description("Fills the tables and draws the plots of the documents from bench/results/")
  .option("--check", "write nothing; exit code 1 if something is not up to date")
  .parse()
  .opts<{ check?: boolean }>();

const root = packageRoot();
for (const { path, text } of await documents(root)) {
  const file = join(root, path);
  if (text === read(file)) continue;
  process.stdout.write(`${path} ${check ? "is not what the results say" : "written"}\n`);
  if (check) process.exitCode = 1;
  else {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
