import { names } from "../compare/measurements.ts";
import type { Measurement } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import { markdownTable } from "./markdown.ts";
import { has, shown } from "./pivot.ts";

/** A row for each context and batch: a decode step's time on each side, and how many times as long the peers take. */
export function compareTable(records: readonly BenchRecord[]): string {
  const all = records.flatMap(({ measurements }) => measurements);
  const steps = all.filter(({ name }) => name === names.step);
  const peers = [...new Set(steps.map(({ labels }) => String(labels.system)))].filter((system) => system !== "sparq");
  const cells = [...new Set(steps.map(({ labels }) => JSON.stringify([labels.context, labels.batch])))].map(
    (cell) => JSON.parse(cell) as [number, number],
  );
  cells.sort(([a, b], [c, d]) => b - d || a - c);
  const rows = cells.map(([context, batch]) => {
    const at = (name: string, labels: Measurement["labels"]) =>
      all.find((one) => one.name === name && has(one.labels, { ...labels, context, batch }));
    const time = (system: string, variant: string) => shown(at(names.step, { system, variant }));
    const ratio = (peer: string, variant: string) => shown(at(names.against, { peer, variant }));
    return [
      ...[String(context), String(batch), time("sparq", "default"), time("sparq", "dense")],
      ...peers.flatMap((peer) => [time(peer, "dense"), ratio(peer, "default"), ratio(peer, "dense")]),
    ];
  });
  const head = peers.flatMap((peer) => [peer, `${peer} / SparQ`, `${peer} / dense`]);
  return markdownTable(["context", "batch", "SparQ", "dense", ...head], rows);
}
