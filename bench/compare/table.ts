import type { Measurement } from "../record/measurement.ts";
import { names } from "./measurements.ts";

/** Tables for a terminal, in Markdown. */
export function formatTables(measurements: readonly Measurement[]): string {
  const find = (name: string, labels: Measurement["labels"]) =>
    measurements.find(
      (one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value),
    );
  const times = (name: string, labels: Measurement["labels"]) => {
    const ratio = find(name, labels);
    return ratio === undefined ? "" : `${ratio.value.toFixed(2)}x${range(ratio, 2)}`;
  };
  const lines = [
    "| context | batch | system | attention | ms per step | tokens/s | sparq is faster | sparq dense is faster |",
    "|---|---|---|---|---|---|---|---|",
  ];
  for (const step of measurements.filter(({ name }) => name === names.step)) {
    const { system, variant, context, batch } = step.labels as Record<string, string | number>;
    const speed = find(names.speed, step.labels)!;
    const against = (own: string) =>
      times(names.against, { variant: own, peer: system!, context: context!, batch: batch! });
    const cells = [
      context,
      batch,
      system,
      variant,
      `${step.value.toFixed(2)}${range(step, 2)}`,
      speed.value.toFixed(1),
    ];
    lines.push(`| ${[...cells, against("default"), against("dense")].join(" | ")} |`);
  }
  const prefill = measurements.filter(({ name }) => name === names.prefill);
  if (prefill.length > 0) lines.push("", "| prefill | system | tokens/s | sparq is faster |", "|---|---|---|---|");
  for (const speed of prefill) {
    const { system, context } = speed.labels as Record<string, string | number>;
    const against = times(names.prefillAgainst, { peer: system!, context: context! });
    lines.push(`| ${[context, system, `${speed.value.toFixed(0)}${range(speed, 0)}`, against].join(" | ")} |`);
  }
  return `${lines.join("\n")}\n`;
}

/** " (1.2 to 1.4)", or nothing of too few rounds. */
function range({ interval }: Measurement, digits: number): string {
  return interval === null ? "" : ` (${interval[0].toFixed(digits)} to ${interval[1].toFixed(digits)})`;
}
