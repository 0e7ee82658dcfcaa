import type { Measurement } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import { markdownTable } from "./markdown.ts";

/** A column: the measurement of this name whose labels are the row's and these. */
export interface Column {
  readonly title: string;
  readonly name: string;
  readonly labels?: Measurement["labels"];
}

/**
 * A row for each combination of the `rows` labels that occurs in the first column's measurements, by those that are numbers; words stay in
 * the order in which they occur.
 */
export function pivotTable({ measurements }: BenchRecord, rows: readonly string[], columns: readonly Column[]): string {
  const [first] = columns;
  const of = measurements.filter(({ name, labels }) => name === first!.name && has(labels, first!.labels ?? {}));
  const keys = [...new Set(of.map(({ labels }) => JSON.stringify(rows.map((label) => labels[label]))))];
  const combinations = keys.map((key) => JSON.parse(key) as (string | number)[]).sort(byNumbers);
  const lines = combinations.map((values) => {
    const own = Object.fromEntries(rows.map((label, i) => [label, values[i]!]));
    const cells = columns.map(({ name, labels }) =>
      shown(measurements.find((one) => one.name === name && has(one.labels, { ...own, ...labels }))),
    );
    return [...values, ...cells];
  });
  return markdownTable([...rows, ...columns.map(({ title }) => title)], lines);
}

function byNumbers(a: readonly (string | number)[], b: readonly (string | number)[]): number {
  const at = a.findIndex((value, i) => typeof value === "number" && value !== b[i]);
  return at < 0 ? 0 : (a[at] as number) - (b[at] as number);
}

/** Whether labels have the wanted values, and whatever else. */
function has(labels: Measurement["labels"], wanted: Measurement["labels"]): boolean {
  return Object.entries(wanted).every(([key, value]) => labels[key] === value);
}

/** Three digits, and the interval where there is one. */
function shown(measurement: Measurement | undefined): string {
  if (measurement === undefined) return "";
  const { value, unit, interval } = measurement;
  const suffix = unit === "x" ? "x" : ` ${unit}`;
  return `${digits(value)}${suffix}${interval === null ? "" : ` (${digits(interval[0])}-${digits(interval[1])})`}`;
}

function digits(value: number): string {
  return String(Number(value.toPrecision(3)));
}
