import { type Measurement, measured, ratioOf } from "../record/measurement.ts";
import { median } from "../statistics.ts";
import type { PrefillSeries, Series } from "./series.ts";

/** Names of the measurements. */
export const names = {
  step: "decode step",
  speed: "decode speed",
  against: "decode speed against a peer",
  prefill: "prefill speed",
  prefillAgainst: "prefill speed against a peer",
} as const;

/** Of each series the time of a step and the speed, and of sparq's how many times a peer's speed that is, round by round. */
export function decodeMeasurements(all: readonly Series[]): Measurement[] {
  return all.flatMap(({ rounds, ...labels }) => {
    const steps = rounds.map(median);
    const { system, variant, context, batch } = labels;
    const own = [
      measured({ name: names.step, labels, unit: "ms", better: "lower" }, steps),
      measured(
        // The same figure the other way up: it is not compared twice.
        { name: names.speed, labels, unit: "tokens/s", better: null },
        steps.map((milliseconds) => (1000 * batch) / milliseconds),
      ),
    ];
    if (system !== "sparq") return own;
    const peers = all.filter((other) => other.system !== "sparq" && other.context === context && other.batch === batch);
    const ratios = peers.map((peer) => {
      const of = { variant, peer: peer.system, context, batch };
      return ratioOf({ name: names.against, labels: of, better: "higher" }, peer.rounds.map(median), steps);
    });
    return [...own, ...ratios];
  });
}

export function prefillMeasurements(all: readonly PrefillSeries[]): Measurement[] {
  return all.flatMap(({ system, context, rounds }) => {
    const speed = measured(
      { name: names.prefill, labels: { system, context }, unit: "tokens/s", better: "higher" },
      rounds.map((seconds) => context / seconds),
    );
    if (system !== "sparq") return [speed];
    const peers = all.filter((other) => other.system !== "sparq" && other.context === context);
    const ratios = peers.map((peer) => {
      const labels = { peer: peer.system, context };
      return ratioOf({ name: names.prefillAgainst, labels, better: "higher" }, peer.rounds, rounds);
    });
    return [speed, ...ratios];
  });
}
