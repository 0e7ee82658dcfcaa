import { mean, standardError } from "../statistics.ts";
import type { EvalReport, EvalResult } from "./types.ts";

/** Paired standard errors that a value may fall by. */
const ERRORS = 2;
/** Share of a value that it may fall by in any case: sums in another order, on another processor. */
const SLACK = 0.05;
/** What one row or one token decides: another rounding moves it as far as a fault would. */
const UNSTEADY: readonly string[] = ["largest KL", "characters before greedy texts part"];
/** What a byte ratio may rise by besides that share. */
const BYTES_SLACK = 0.002;

/** What a report is worse in than a baseline, a line each; none if it holds. */
export function compareWithBaseline(report: EvalReport, baseline: EvalReport): string[] {
  const faults = baseline.sets.flatMap(({ task, tokens, sha256 }) => {
    const own = report.sets.find((set) => set.task === task && set.tokens === tokens);
    if (own?.sha256 === sha256) return [];
    return [`${task}${at(tokens)}: ${own ? "its items are not those of the baseline" : "it was not run"}`];
  });
  // Values of other items cannot be compared.
  if (faults.length > 0) return faults;
  const held = baseline.results.filter(({ metric }) => !UNSTEADY.includes(metric));
  return held.flatMap((before) => {
    const after = report.results.find((result) => keyOf(result) === keyOf(before));
    const name = `${before.task}${at(before.tokens)}, ${before.variant}`;
    return after === undefined ? [`${name}: ${before.metric} was not measured`] : fallsOf(name, before, after);
  });
}

function keyOf({ task, tokens, variant, metric }: EvalResult): string {
  return JSON.stringify([task, tokens, variant, metric]);
}

function at(tokens: number | null): string {
  return tokens === null ? "" : ` at ${tokens} tokens`;
}

function fallsOf(name: string, before: EvalResult, after: EvalResult): string[] {
  const faults: string[] = [];
  const sign = before.better === "higher" ? 1 : -1;
  const falls = before.items.map((value, i) => sign * (value - after.items[i]!));
  const fall = mean(falls);
  const allowed = Math.max(falls.length > 1 ? ERRORS * standardError(falls) : 0, SLACK * Math.abs(mean(before.items)));
  if (!(fall <= allowed)) {
    const worse = before.better === "higher" ? "fell" : "rose";
    faults.push(
      `${name}: ${before.metric} ${worse} from ${before.value} to ${after.value} over ${before.n} items; ` +
        `paired by item by ${shown(fall)}, where ${shown(allowed)} is allowed`,
    );
  }
  const bytes = before.bytesRatio === null ? Number.POSITIVE_INFINITY : before.bytesRatio * (1 + SLACK) + BYTES_SLACK;
  if (after.bytesRatio !== null && after.bytesRatio > bytes) {
    faults.push(`${name}: it reads ${after.bytesRatio} of dense attention's bytes, ${before.bytesRatio} before`);
  }
  return faults;
}

function shown(value: number): string {
  return String(Number(value.toPrecision(3)));
}
