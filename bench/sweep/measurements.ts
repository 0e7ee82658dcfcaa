import { type Measurement, measured, ratioOf } from "../record/measurement.ts";
import { leastMs } from "./bytes.ts";
import { SPEEDUP } from "./crossover.ts";
import type { MeasuredCell } from "./measure.ts";
import { parts } from "./parts.ts";
import type { Cell } from "./plan.ts";

/** Names of a sweep's figures. */
export const names = {
  step: "decode step",
  tokens: "tokens a second",
  part: "part of a decode step",
  cacheBytes: "cache read by a step",
  least: "least time by bytes",
  overLeast: "measured over least time",
  bandwidth: "read bandwidth",
} as const;

/** All of a cell's figures. Dense attention is among its ways. */
export function measurementsOf(cell: Cell, { ways, bandwidth }: MeasuredCell, weightBytes: number): Measurement[] {
  const { context, batch } = cell;
  const dense = ways.find(({ variant }) => variant === "dense")!.steps.map(({ ms }) => ms);
  const own = ways.flatMap(({ variant, steps, cacheBytes }) => {
    const labels = { variant, context, batch };
    const ms = steps.map((step) => step.ms);
    // Each round beside the bandwidth that was measured right before it.
    const least = bandwidth.map((speed) => leastMs(weightBytes + cacheBytes, speed));
    return [
      measured({ name: names.step, labels, unit: "ms", better: "lower" }, ms),
      // The same figure the other way up: it is not compared twice.
      measured(
        { name: names.tokens, labels, unit: "tokens/s", better: null },
        ms.map((value) => (1000 * batch) / value),
      ),
      ...(variant === "dense" ? [] : [ratioOf({ name: SPEEDUP, labels, better: "higher" }, dense, ms)]),
      measured({ name: names.cacheBytes, labels, unit: "bytes", better: null }, [cacheBytes]),
      measured({ name: names.least, labels, unit: "ms", better: null }, least),
      ratioOf({ name: names.overLeast, labels, better: null }, ms, least),
      ...parts.flatMap((part) => {
        const rounds = steps.map(({ split }) => split[part]);
        if (rounds.every((value) => value === 0)) return [];
        return [measured({ name: names.part, labels: { ...labels, part }, unit: "ms", better: null }, rounds)];
      }),
    ];
  });
  const speed = { name: names.bandwidth, labels: { context, batch }, unit: "GB/s", better: null } as const;
  return [
    ...own,
    measured(
      speed,
      bandwidth.map((value) => value / 1e9),
    ),
  ];
}
