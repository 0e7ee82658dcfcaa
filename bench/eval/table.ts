import type { EvalReport, EvalResult } from "./types.ts";

/** A table for each set, for people. */
export function formatTable({ model, sets, results }: EvalReport): string {
  const tables = sets.map(({ task, tokens, n, promptTokens, data }) => {
    const own = results.filter((result) => result.task === task && result.tokens === tokens);
    const length = promptTokens === null ? "" : `, ${promptTokens} tokens each`;
    const head = `${model}, ${task} (${data}): ${n} items${length}; ${own[0]?.metric ?? ""}\n\n`;
    const lines = own.map((result) => `| ${cellsOf(result).join(" | ")} |\n`);
    return `${head}| variant | value | bytes / dense | of sparse rows |\n|---|---|---|---|\n${lines.join("")}`;
  });
  return tables.join("\n");
}

function cellsOf({ variant, value, stderr, bytesRatio, sparseBytesRatio }: EvalResult): string[] {
  const ratio = (share: number | null) => share?.toFixed(3) ?? "";
  const error = stderr === null ? "" : ` ± ${stderr.toFixed(3)}`;
  return [variant, `${value.toFixed(3)}${error}`, ratio(bytesRatio), ratio(sparseBytesRatio)];
}

/** The report as JSON, with an item's values on one line. */
export function formatJson(report: EvalReport): string {
  const text = JSON.stringify(report, null, 1);
  return `${text.replace(/\[\s+(-?[\d.][^\]{}"]*?)\s+\]/g, (_, values: string) => `[${values.replace(/\s+/g, "")}]`)}\n`;
}
