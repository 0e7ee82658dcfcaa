import type { Measurement } from "../record/measurement.ts";
import { crossoversOf, describeCrossover, SPEEDUP } from "./crossover.ts";
import { Figures } from "./lookup.ts";
import { names } from "./measurements.ts";
import { parts } from "./parts.ts";
import { type Cell, nameOf } from "./plan.ts";

/** Tables for a terminal, in Markdown: times, where they go, and from where on SparQ pays. */
export function tablesOf(measurements: readonly Measurement[], describe: (variant: string, context: number) => string) {
  const figures = new Figures(measurements);
  const rows = figures.cells.flatMap((cell) => figures.variants.map((variant) => ({ ...cell, variant })));
  return [
    ...timesTable(figures, rows, describe),
    "",
    ...splitTable(figures, rows),
    "",
    ...crossoverTable(measurements),
    "",
  ].join("\n");
}

type Row = Cell & { readonly variant: string };

function timesTable(figures: Figures, rows: readonly Row[], describe: (variant: string, context: number) => string) {
  const lines = [
    "In brackets: where the median is, at 95 % (with three to five rounds their range). Least: the bytes of weights and cache at the",
    "bandwidth that plain reads got.",
    "",
    "| batch | context | variant | attention | ms a step | tokens/s | times faster than dense | MB of cache | least ms | of least |",
    "|---|---|---|---|---|---|---|---|---|---|",
  ];
  for (const { variant, context, batch } of rows) {
    const labels = { variant, context, batch };
    const cells = [
      ...[batch, context, variant, describe(variant, context)],
      spread(figures.of(names.step, labels)),
      shown(figures.of(names.tokens, labels)?.value),
      spread(figures.of(SPEEDUP, labels)),
      shown((figures.of(names.cacheBytes, labels)?.value ?? 0) / 1e6),
      shown(figures.of(names.least, labels)?.value),
      `${shown(figures.of(names.overLeast, labels)?.value)}x`,
    ];
    lines.push(`| ${cells.join(" | ")} |`);
  }
  return lines;
}

function splitTable(figures: Figures, rows: readonly Row[]) {
  const there = parts.filter((part) => rows.some((row) => figures.of(names.part, { ...labelsOf(row), part })));
  const lines = [
    "Where a step's time goes, ms (medians, which need not add up)",
    "",
    `| batch | context | variant | ${there.join(" | ")} |`,
    `|---|---|---|${there.map(() => "---").join("|")}|`,
  ];
  for (const row of rows) {
    const values = there.map((part) => shown(figures.of(names.part, { ...labelsOf(row), part })?.value ?? 0));
    lines.push(`| ${[row.batch, row.context, row.variant, ...values].join(" | ")} |`);
  }
  return lines;
}

function crossoverTable(measurements: readonly Measurement[]) {
  const crossovers = crossoversOf(measurements);
  if (crossovers.length === 0) return [];
  return [
    "Where SparQ pays: from the context on at which its whole interval is above 1, and at all longer ones",
    "",
    "| batch | variant | |",
    "|---|---|---|",
    ...crossovers.map((one) => `| ${one.batch} | ${one.variant} | ${describeCrossover(one)} |`),
  ];
}

/** What the report says of the crossovers that there are none of. */
export function withoutCrossover(measurements: readonly Measurement[]) {
  return crossoversOf(measurements)
    .filter(({ from }) => from === null)
    .map((one) => ({
      what: `crossover of ${one.variant} at batch ${one.batch}`,
      reason: describeCrossover(one),
    }));
}

/** Where a sweep is; `round` and `i` count from 0. */
export interface Place {
  readonly round: number;
  readonly rounds: number;
  readonly cell: Cell;
  readonly i: number;
  readonly cells: number;
}

/** For the notes that are written meanwhile. */
export function progressOf({ round, rounds, cell, i, cells }: Place): string {
  return `round ${round + 1} of ${rounds}: ${nameOf(cell)} (${i + 1} of ${cells})`;
}

function labelsOf({ variant, context, batch }: Row) {
  return { variant, context, batch };
}

function spread(measurement: Measurement | undefined): string {
  if (measurement === undefined) return "";
  const { value, interval } = measurement;
  return interval === null ? shown(value) : `${shown(value)} (${shown(interval[0])} to ${shown(interval[1])})`;
}

function shown(value: number | undefined): string {
  if (value === undefined) return "";
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
}
