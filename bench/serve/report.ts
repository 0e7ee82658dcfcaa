import type { Measurement } from "../record/measurement.ts";
import { median } from "../statistics.ts";
import { type LoadRounds, labelsOf, nameOf } from "./loads.ts";
import { failuresOf, statistics, titles } from "./measurements.ts";
import { latencyNames } from "./metrics.ts";

/** Beyond these milliseconds, times are those of the client as well as of the server. */
const MOST_LAG_MS = 10;
const MOST_LATE_MS = 20;

/** A table for each load: medians of the rounds, and below it what went wrong. */
export function formatServe(loads: readonly LoadRounds[], measurements: readonly Measurement[]): string {
  return loads.map((one) => formatLoad(one, measurements)).join("\n");
}

function formatLoad({ load, rounds }: LoadRounds, measurements: readonly Measurement[]): string {
  const { rate, concurrency } = labelsOf(load);
  const own = measurements.filter(({ labels }) => labels.rate === rate && labels.concurrency === concurrency);
  const value = (name: string, statistic?: string) => {
    return own.find((one) => one.name === name && one.labels.statistic === statistic)?.value;
  };
  const shown = (name: string, digits: number) => value(name)?.toFixed(digits) ?? "unknown";
  const goodput = value("goodput");
  const lines = [
    `${nameOf(load)}: ${shown("request throughput", 2)} requests/s${goodput === undefined ? "" : `, goodput ${goodput.toFixed(2)}`};` +
      ` tokens/s: ${shown("output throughput", 1)} of answers, ${shown("total throughput", 1)} in all;` +
      ` tokens a request: ${shown("input tokens", 0)} in, ${shown("output tokens", 0)} out; ${shown("peak concurrency", 0)} at once`,
    "",
    `| ms | ${statistics.join(" | ")} |`,
    `|---${"|---".repeat(statistics.length)}|`,
    ...latencyNames.map((name) => {
      const cells = statistics.map((statistic) => value(titles[name], statistic)?.toFixed(1) ?? "unknown");
      return `| ${titles[name]} | ${cells.join(" | ")} |`;
    }),
    "",
  ];
  const all = rounds.reduce((sum, { requests }) => sum + requests, 0);
  for (const { kind, times, detail } of failuresOf(rounds))
    lines.push(`failed: ${times} of ${all}: ${kind}: ${detail}`);
  return `${lines.join("\n")}${lines.at(-1) === "" ? "" : "\n"}`;
}

/** What makes figures doubtful although every answer was sound. */
export function warningsOf({ load, rounds }: LoadRounds, sharedPrefixTokens: number): string[] {
  const at = nameOf(load);
  const warnings: string[] = [];
  const lag = median(rounds.map(({ client }) => client.lagP99));
  if (lag > MOST_LAG_MS) {
    warnings.push(
      `${at}: the clients' event loop was ${lag.toFixed(1)} ms late (p99): times may be that much too long`,
    );
  }
  const late = rounds.flatMap(({ sentLate }) => sentLate ?? []);
  if (late.length > 0 && median(late) > MOST_LATE_MS) {
    const why = load.concurrency === null ? "the client was busy" : "there was no place for them";
    warnings.push(
      `${at}: requests were sent ${median(late).toFixed(0)} ms late (p99), since ${why}: the rate was lower`,
    );
  }
  const resent = rounds.reduce((sum, round) => sum + round.resent, 0);
  if (resent > 0) {
    warnings.push(
      `${at}: ${resent} requests were sent twice: their kept connection was closed before anything was answered`,
    );
  }
  const cached = rounds.flatMap(({ cachedTokens }) => cachedTokens ?? []);
  const input = rounds.flatMap(({ inputTokens }) => inputTokens ?? []);
  if (cached.length > 0 && input.length > 0 && median(cached) > median(input) / 2 + sharedPrefixTokens) {
    warnings.push(`${at}: the server had most of the prompts cached, from an earlier run: give another --seed`);
  }
  return warnings;
}
