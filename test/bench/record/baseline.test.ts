import { describe, expect, it } from "vitest";
import { compareRecords, formatComparison } from "../../../bench/record/baseline.ts";
import { type Measurement, measured } from "../../../bench/record/measurement.ts";
import { recordOf } from "../../../bench/record/record.ts";

const record = (...measurements: Measurement[]) =>
  recordOf({
    ...{ bench: "decode", command: "sparq bench decode", model: "tiny-llama", settings: {} },
    ...{ threads: 2, started: performance.now(), measurements },
  });
const time = (batch: number, rounds: number[]) =>
  measured({ name: "decode step", labels: { batch }, unit: "ms", better: "lower" }, rounds);
const rate = (rounds: number[]) => measured({ name: "tokens", labels: {}, unit: "tokens/s", better: "higher" }, rounds);

describe("comparison with a baseline", () => {
  it("calls a figure better or worse only if the intervals are apart", () => {
    const before = record(time(1, [10, 11, 12]), time(2, [10, 11, 12]), time(4, [10, 11, 12]), rate([100, 101, 102]));
    const after = record(time(1, [12, 13, 14]), time(2, [12.5, 13, 14]), time(4, [5, 5.5, 6]), rate([90, 91, 92]));
    const { changes, missing } = compareRecords(after, before);
    expect(changes.map(({ title, verdict }) => [title, verdict])).toEqual([
      ["decode step (batch 1)", "same"],
      ["decode step (batch 2)", "worse"],
      ["decode step (batch 4)", "better"],
      ["tokens", "worse"],
    ]);
    expect(changes[2]!.gain).toBe(2);
    expect(missing).toEqual([]);
    const text = formatComparison({ changes, missing });
    expect(text).toContain("1 of 4 figures within the noise");
    expect(text).toContain("| decode step (batch 2) | 11 ms | 13 ms | 0.85 | worse |");
  });

  it("names figures that were not measured again, in whatever order labels stand", () => {
    const both = (labels: Record<string, number>) =>
      measured({ name: "step", labels, unit: "ms", better: "lower" }, [1, 2, 3]);
    const before = record(both({ batch: 1, context: 2 }), time(8, [1, 2, 3]));
    const { changes, missing } = compareRecords(record(both({ context: 2, batch: 1 })), before);
    expect(changes).toHaveLength(1);
    expect(missing).toEqual(["decode step (batch 8)"]);
  });

  it("refuses a baseline of another benchmark or model, or one that says nothing", () => {
    const before = record(time(1, [1, 2, 3]));
    expect(() => compareRecords({ ...before, model: "other" }, before)).toThrow(
      "the baseline's model is tiny-llama, not other",
    );
    expect(() => compareRecords(before, { ...before, bench: "sweep" })).toThrow(
      "the baseline's bench is sweep, not decode",
    );
    expect(() => compareRecords(before, record(time(1, [1, 2])))).toThrow("no figure with an interval");
  });

  it("says so where all times have moved alike, as on a machine that was slower", () => {
    const batches = [1, 2, 3, 4, 5, 6];
    const before = record(...batches.map((batch) => time(batch, [10, 10.1, 10.2])));
    const at = (factor: number) =>
      record(...batches.map((batch) => time(batch, [10 * factor, 10.1 * factor, 10.2 * factor])));
    expect(formatComparison(compareRecords(at(1.25), before))).toContain(
      "on the median, the 6 figures that are no ratios are 0.80 times as good as the baseline's",
    );
    expect(formatComparison(compareRecords(at(1.05), before))).not.toContain("on the median");
    // One that moved says nothing of the machine.
    const one = record(time(1, [20, 21, 22]), ...batches.slice(1).map((batch) => time(batch, [10, 10.1, 10.2])));
    const text = formatComparison(compareRecords(one, before));
    expect(text).toContain("worse");
    expect(text).not.toContain("on the median");
  });

  it("refuses a record in which two figures are one", () => {
    expect(() => record(time(1, [1]), time(1, [2]))).toThrow("two measurements are");
  });
});
