import type { Measurement } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import { AGAINST_FIRST, PROCESSOR_TIME } from "./measurements.ts";

/** Speed and memory, a row for each variant, batch and workload. `first` is the variant that ratios are to. */
export function tableOf({ measurements }: BenchRecord, first: string): string {
  const cases = new Map<string, Map<string, Measurement>>();
  for (const measurement of measurements) {
    const key = JSON.stringify(measurement.labels);
    cases.set(key, (cases.get(key) ?? new Map()).set(measurement.name, measurement));
  }
  const rows = [...cases.values()];
  const labels = Object.keys(measurements[0]?.labels ?? {});
  const table = (columns: readonly Column[]) => {
    const head = [...labels, ...columns.map(([title]) => title)];
    const lines = rows.map((row) => {
      const own = Object.values([...row.values()][0]!.labels);
      return `| ${[...own, ...columns.map(([, cell]) => cell(row))].join(" | ")} |`;
    });
    return [`| ${head.join(" | ")} |`, `|${"---|".repeat(head.length)}`, ...lines].join("\n");
  };
  const ratios: readonly Column[] = rows.some((row) => row.has(AGAINST_FIRST))
    ? [[`speed against ${first}`, against]]
    : [];
  return `${table([...speed, ...ratios])}\n\n${table(memory)}\n`;
}

/** Threads wait a little in every step, also where nothing else runs. */
const LEAST_PROCESSOR_TIME = 75;

/** A sentence if other programs had much of the processors in one of the cases; else nothing. */
export function warningOf({ measurements }: BenchRecord): string {
  const shares = measurements.filter(({ name }) => name === PROCESSOR_TIME).map(({ value }) => value);
  const least = Math.min(...shares);
  if (least >= LEAST_PROCESSOR_TIME) return "";
  return (
    `warning: the threads got ${least.toFixed(0)} % of the processor time that they could have had: ` +
    "other programs ran, and the figures are those of a busy machine\n"
  );
}

type Column = readonly [title: string, cell: (row: ReadonlyMap<string, Measurement>) => string];

const fixed =
  (name: string, digits: number, scale = 1) =>
  (row: ReadonlyMap<string, Measurement>) => {
    const value = row.get(name)?.value;
    return value === undefined ? "" : (value / scale).toFixed(digits);
  };

const speed: readonly Column[] = [
  ["requests/s", fixed("requests", 2)],
  ["total tokens/s", fixed("total tokens", 1)],
  ["prompt tokens/s", fixed("prompt tokens", 1)],
  ["output tokens/s", fixed("output tokens", 1)],
  ["step, ms", fixed("step", 2)],
  ["p99", fixed("step, 99th percentile", 2)],
  ["steps", fixed("steps", 0)],
];

const memory: readonly Column[] = [
  ["KV read for an output token, kB", fixed("KV read for an output token", 1, 1000)],
  ["of dense", fixed("KV read against dense", 3)],
  ["attention's part of steps, %", fixed("attention's part of steps", 1)],
  ["outside of steps, %", fixed("time outside of steps", 1)],
  ["processor time, %", fixed(PROCESSOR_TIME, 0)],
  ["peak blocks", fixed("peak cache use", 0)],
  ["of the cache, %", fixed("peak share of the cache", 1)],
  ["prefix cache hits, %", fixed("prefix cache hits", 1)],
  ["preemptions", fixed("preemptions", 0)],
];

/** The median, and the interval that it lies in. */
function against(row: ReadonlyMap<string, Measurement>): string {
  const found = row.get(AGAINST_FIRST);
  if (found === undefined) return "1";
  const { value, interval } = found;
  const range = interval === null ? "" : ` (${interval[0].toFixed(2)}-${interval[1].toFixed(2)})`;
  return `${value.toFixed(2)}${range}`;
}
