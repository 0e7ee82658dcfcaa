/** Key-value recall of a built-in model, dense and sparse: node dist/bench/recall.js --model tiny-llama --n 200 --json FILE */
import { writeFileSync } from "node:fs";
import { Command } from "commander";
import pino from "pino";
import { parseServerOptions } from "../server/config.ts";
import { loadServing } from "../server/load-serving.ts";
import { dense, measureRecall, type RecallResult, readRecallSet, sparqAt, windowOf } from "./accuracy/recall.ts";

const { model, n, threads, json } = new Command()
  .description("Share of key-value questions over 2048 tokens that a model answers, by mode of attention")
  .option("--model <name>", "built-in model", "tiny-llama")
  .option("--n <items>", "items to ask, of 200", "200")
  .option("--threads <count>", "default: what the container allows")
  .option("--json <file>", "write the results there too")
  .parse()
  .opts<{ model: string; n: string; threads?: string; json?: string }>();

const set = readRecallSet();
const items = set.items.slice(0, Number(n));
const options = parseServerOptions({ model, threads, maxRunning: 1 });
const serving = await loadServing(options, pino({ level: "warn" }, pino.destination(2)));
const modes = [
  dense(serving),
  sparqAt(1 / 4, serving),
  sparqAt(1 / 8, serving),
  windowOf(1 / 4, serving),
  windowOf(1 / 8, serving),
];
const started = performance.now();
const results = await measureRecall(serving, { ...set, items }, modes, (done) => {
  if (process.stderr.isTTY) process.stderr.write(`\r${done}/${items.length}`);
});
await serving.engine.close();
const seconds = (performance.now() - started) / 1000;

process.stdout.write(`\r${model}, ${items.length} items of ${set.tokens} tokens, ${seconds.toFixed(0)} s\n`);
for (const result of results) process.stdout.write(`${line(result)}\n`);
if (json) writeFileSync(json, `${JSON.stringify({ model, tokens: set.tokens, seconds, results }, null, 2)}\n`);

function line({ mode, accuracy, standardError, trafficRatio }: RecallResult): string {
  const measured = mode.startsWith("sparq") && trafficRatio !== null ? `traffic ${trafficRatio.toFixed(3)}` : "";
  const percent = (share: number) => (100 * share).toFixed(1).padStart(5);
  return `${mode.padEnd(11)} ${percent(accuracy)} % ± ${percent(standardError).trim()}  ${measured}`.trimEnd();
}
