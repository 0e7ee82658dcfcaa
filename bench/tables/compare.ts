import { names } from "../compare/measurements.ts";
import type { BenchRecord } from "../record/record.ts";
import { pivotTable } from "./pivot.ts";

/** A row for each batch and context: a decode step's time on each side, and how many times as long the peers take. */
export function compareTable(record: BenchRecord): string {
  const systems = record.measurements.flatMap(({ name, labels }) => (name === names.step ? String(labels.system) : []));
  const peers = [...new Set(systems)].filter((system) => system !== "sparq");
  return pivotTable(
    record,
    ["batch", "context"],
    [
      { title: "SparQ", name: names.step, labels: { system: "sparq", variant: "default" } },
      { title: "dense", name: names.step, labels: { system: "sparq", variant: "dense" } },
      ...peers.flatMap((peer) => [
        { title: peer, name: names.step, labels: { system: peer } },
        { title: `${peer} / SparQ`, name: names.against, labels: { peer, variant: "default" } },
        { title: `${peer} / dense`, name: names.against, labels: { peer, variant: "dense" } },
      ]),
    ],
  );
}
