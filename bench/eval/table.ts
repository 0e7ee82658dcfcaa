import { fromDense } from "./paired.ts";
import type { EvalReport, EvalResult } from "./types.ts";

/** A table for each set and metric, for people. */
export function formatTable({ model, sets, results }: EvalReport): string {
  const tables = sets.flatMap(({ task, tokens, n, promptTokens, data }) => {
    const own = results.filter((result) => result.task === task && result.tokens === tokens);
    const length = promptTokens === null ? "" : `, ${promptTokens} tokens each`;
    return [...new Set(own.map(({ metric }) => metric))].map((metric) => {
      const head = `${model}, ${task} (${data}): ${n} items${length}; ${metric}\n\n`;
      const lines = own
        .filter((result) => result.metric === metric)
        .map((result) => `| ${cellsOf(result, own).join(" | ")} |\n`);
      return `${head}| variant | value | from dense, by item | bytes / dense | of sparse rows |\n|---|---|---|---|---|\n${lines.join("")}`;
    });
  });
  return tables.join("\n");
}

function cellsOf(result: EvalResult, own: readonly EvalResult[]): string[] {
  const { variant, value, stderr, bytesRatio, sparseBytesRatio } = result;
  const paired = fromDense(result, own);
  const ratio = (share: number | null) => share?.toFixed(3) ?? "";
  // Divergences are small.
  const shown = (number: number) =>
    Math.abs(value) < 0.1 && value !== 0 ? number.toExponential(2) : number.toFixed(3);
  const error = (own: number | null) => (own === null ? "" : ` ± ${shown(own)}`);
  const difference = paired === null ? "" : `${shown(paired.difference)}${error(paired.stderr)}`;
  return [variant, `${shown(value)}${error(stderr)}`, difference, ratio(bytesRatio), ratio(sparseBytesRatio)];
}

/** The report as JSON, with an item's values on one line. */
export function formatJson(report: EvalReport): string {
  const text = JSON.stringify(report, null, 1);
  return `${text.replace(/\[\s+(-?[\d.][^\]{}"]*?)\s+\]/g, (_, values: string) => `[${values.replace(/\s+/g, "")}]`)}\n`;
}
