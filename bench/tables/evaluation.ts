import { fromDense } from "../eval/paired.ts";
import type { EvalReport, EvalResult } from "../eval/types.ts";
import { markdownTable } from "./markdown.ts";

/** What a table of evaluation results shows, and in what order. */
export interface EvaluationTable {
  readonly metrics: readonly {
    readonly task: string;
    readonly metric: string;
    readonly title: string;
    readonly percent?: boolean;
  }[];
  readonly tokens: readonly (number | null)[];
  readonly variants: readonly string[];
}

/** A row for each task and length, a column for each variant; values with standard errors, and the bytes read against dense. */
export function evaluationTable(
  reports: readonly EvalReport[],
  { metrics, tokens, variants }: EvaluationTable,
): string {
  const results = reports.flatMap((report) => report.results);
  const rows: string[][] = [];
  for (const { task, metric, title, percent } of metrics) {
    for (const length of tokens) {
      const of = results.filter(
        (result) => result.task === task && result.metric === metric && result.tokens === length,
      );
      if (of.length === 0) continue;
      const cells = variants.map((name) =>
        cellOf(
          of.find(({ variant }) => variant === name),
          percent === true,
        ),
      );
      rows.push([title, length === null ? "" : String(length), String(of[0]!.n), ...cells]);
    }
  }
  return markdownTable(["task", "tokens", "n", ...variants], rows);
}

/** A row for each task and length: what a variant differs from dense attention by, item by item, and what it reads. */
export function lossTable(
  reports: readonly EvalReport[],
  { metrics, tokens, variant }: Omit<EvaluationTable, "variants"> & { readonly variant: string },
): string {
  const results = reports.flatMap((report) => report.results);
  const rows: string[][] = [];
  for (const { task, metric, title, percent = false } of metrics) {
    for (const length of tokens) {
      const of = results.filter(
        (result) => result.task === task && result.metric === metric && result.tokens === length,
      );
      const [dense, own] = ["dense", variant].map((name) => of.find((result) => result.variant === name));
      const paired = own && fromDense(own, of);
      if (!dense || !own || !paired) continue;
      rows.push([
        ...[title, length === null ? "" : String(length), String(own.n)],
        withError(dense.value, dense.stderr, percent),
        withError(paired.difference, paired.stderr, percent),
        own.bytesRatio?.toFixed(2) ?? "",
      ]);
    }
  }
  return markdownTable(["task", "tokens", "n", "dense", `${variant} - dense, by item`, "bytes / dense"], rows);
}

function cellOf(result: EvalResult | undefined, percent: boolean): string {
  if (result === undefined) return "";
  const { value, stderr, bytesRatio, variant } = result;
  const bytes = bytesRatio === null || variant === "dense" ? "" : ` (${bytesRatio.toFixed(2)})`;
  return `${withError(value, stderr, percent)}${bytes}`;
}

/** Digits as the error allows: one of its own, two where that is a 1 or a 2. Small values have a power of ten. */
export function withError(value: number, error: number | null, percent = false): string {
  const scale = percent ? 100 : 1;
  const unit = percent ? " %" : "";
  if (error === null || error === 0) return `${Number((value * scale).toPrecision(4))}${unit}`;
  const power = Math.floor(Math.log10(Math.max(Math.abs(value), error) * scale));
  if (power < -2 && !percent) {
    const digits = Math.max(0, decimals(error / 10 ** power));
    return `(${(value / 10 ** power).toFixed(digits)} ± ${(error / 10 ** power).toFixed(digits)})e${power}`;
  }
  const digits = Math.max(0, decimals(error * scale));
  return `${(value * scale).toFixed(digits)} ± ${(error * scale).toFixed(digits)}${unit}`;
}

function decimals(error: number): number {
  const power = Math.floor(Math.log10(error));
  return (error / 10 ** power < 3 ? 1 : 0) - power;
}

/** A row for each variant of one task at one length, a column for each metric. */
export function variantTable(
  { results }: EvalReport,
  {
    task,
    tokens,
    metrics,
  }: { readonly task: string; readonly tokens: number | null; readonly metrics: readonly string[] },
): string {
  const of = results.filter((result) => result.task === task && result.tokens === tokens);
  const rows = [...new Set(of.map(({ variant }) => variant))].map((name) => {
    const own = of.filter(({ variant }) => variant === name);
    const cells = metrics.map((metric) => {
      const found = own.find((result) => result.metric === metric);
      return found === undefined ? "" : withError(found.value, found.stderr);
    });
    return [`\`${name}\``, ...cells, own[0]?.bytesRatio?.toFixed(3) ?? ""];
  });
  return markdownTable(["variant", ...metrics, "bytes / dense"], rows);
}
