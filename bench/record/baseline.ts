import { median } from "../statistics.ts";
import { keyOf, type Measurement, titleOf } from "./measurement.ts";
import { type BenchRecord, RecordError } from "./record.ts";

/** A figure of both records. */
export interface Change {
  readonly title: string;
  readonly unit: string;
  readonly before: number;
  readonly after: number;
  /** How many times better it is; below 1 it is worse. */
  readonly gain: number;
  readonly verdict: "better" | "worse" | "same";
}

export interface Comparison {
  readonly changes: readonly Change[];
  /** Figures that the baseline has and the record has not. */
  readonly missing: readonly string[];
}

/**
 * Figures of a record beside those of an earlier one. One is better or worse only if the intervals of both have no point in
 * common: less than that is within the noise that the two runs measured of themselves. Figures with fewer than three rounds have no
 * interval, and are left out. Throws RecordError for records that cannot be compared.
 */
export function compareRecords(record: BenchRecord, baseline: BenchRecord): Comparison {
  for (const field of ["bench", "model"] as const) {
    if (record[field] !== baseline[field]) {
      throw new RecordError(`the baseline's ${field} is ${baseline[field]}, not ${record[field]}`);
    }
  }
  const own = new Map(record.measurements.map((measurement) => [keyOf(measurement), measurement]));
  const held = baseline.measurements.filter(({ better, interval }) => better !== null && interval !== null);
  if (held.length === 0) throw new RecordError("the baseline has no figure with an interval to compare with");
  const changes: Change[] = [];
  const missing: string[] = [];
  for (const before of held) {
    const after = own.get(keyOf(before));
    if (after === undefined || after.interval === null) missing.push(titleOf(before));
    else changes.push(changeOf(before, after));
  }
  return { changes, missing };
}

function changeOf(before: Measurement, after: Measurement): Change {
  const [low, high] = before.interval!;
  const [lowNow, highNow] = after.interval!;
  const higher = lowNow > high;
  const lower = highNow < low;
  const improves = before.better === "higher" ? higher : lower;
  const gain = before.better === "higher" ? after.value / before.value : before.value / after.value;
  const verdict = !higher && !lower ? "same" : improves ? "better" : "worse";
  return { title: titleOf(before), unit: before.unit, before: before.value, after: after.value, gain, verdict };
}

/** Figures of which a median says something of the machine. */
const FEW = 5;

/** Within what a quiet machine does from one run to the next. */
function alike(gain: number): boolean {
  return gain > 0.93 && gain < 1.07;
}

/** A table of what changed, and lines on the rest. */
export function formatComparison({ changes, missing }: Comparison): string {
  const moved = changes.filter(({ verdict }) => verdict !== "same");
  const lines = [
    `against the baseline: ${changes.length - moved.length} of ${changes.length} figures within the noise of both runs`,
  ];
  if (moved.length > 0) lines.push("", "| figure | before | now | times better | |", "|---|---|---|---|---|");
  for (const { title, unit, before, after, gain, verdict } of moved) {
    lines.push(`| ${title} | ${before} ${unit} | ${after} ${unit} | ${gain.toFixed(2)} | ${verdict} |`);
  }
  const times = changes.filter(({ unit }) => unit !== "x").map(({ gain }) => gain);
  if (moved.length > 0 && times.length >= FEW && !alike(median(times))) {
    const drift = `on the median, the ${times.length} figures that are no ratios are ${median(times).toFixed(2)} times as good as the baseline's`;
    lines.push(
      "",
      `${drift}: if nothing was changed that slows or speeds all of them up, the machine was, and ratios tell more`,
    );
  }
  if (missing.length > 0) lines.push("", `not measured: ${missing.join("; ")}`);
  return `${lines.join("\n")}\n`;
}
