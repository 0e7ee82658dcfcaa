import type { Measurement } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import type { Figure } from "../report/figures.ts";
import { seriesChart } from "../report/series-chart.ts";
import { names } from "./measurements.ts";

/** How many times each peer's speed sparq has, and what a step takes on each side. */
export function compareFigures({ measurements }: BenchRecord): Figure[] {
  const of = (name: string) => measurements.filter((one) => one.name === name);
  const x = axisOf(of(names.step));
  const other = x === "context" ? "batch" : "context";
  const rest = (labels: Measurement["labels"], ...parts: string[]) => {
    const named = parts.map((part) => labels[part]);
    return (several(of(names.step), other) ? [...named, `${other} ${labels[other]}`] : named).join(", ");
  };
  const common = { x, xTitle: x === "context" ? "positions in the cache" : "sequences", logX: true };
  const against = ["default", "dense"].map((variant): Figure => {
    const own = of(names.against).filter(({ labels }) => labels.variant === variant);
    return {
      id: `against-${variant}`,
      caption: `Decode speed of sparq (${variant}) in each peer's: above 1 sparq is faster`,
      spec: seriesChart(own, {
        ...{ ...common, y: "times the peer's speed", logY: true, rule: 1 },
        seriesOf: (labels) => rest(labels, "peer"),
      }),
    };
  });
  const steps: Figure = {
    id: "step",
    caption: "Time of a decode step",
    spec: seriesChart(of(names.step), {
      ...{ ...common, y: "ms", logY: true },
      seriesOf: (labels) => rest(labels, "system", "variant"),
    }),
  };
  return of(names.against).length > 0 ? [...against, steps] : [steps];
}

/** What a line goes along: the label that has several values, contexts first. */
function axisOf(measurements: readonly Measurement[]): "context" | "batch" {
  return !several(measurements, "context") && several(measurements, "batch") ? "batch" : "context";
}

function several(measurements: readonly Measurement[], label: string): boolean {
  return new Set(measurements.map(({ labels }) => labels[label])).size > 1;
}
