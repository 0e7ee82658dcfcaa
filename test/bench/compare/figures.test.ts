import { expect, it } from "vitest";
import { compareFigures } from "../../../bench/compare/figures.ts";
import { decodeMeasurements, prefillMeasurements } from "../../../bench/compare/measurements.ts";
import { formatTables } from "../../../bench/compare/table.ts";
import { tokenIds } from "../../../bench/compare/tokens.ts";
import { type Measurement, titleOf } from "../../../bench/record/measurement.ts";
import type { BenchRecord } from "../../../bench/record/record.ts";
import { toSvg } from "../../../bench/report/chart.ts";

const cell = (system: string, variant: string, batch: number, rounds: number[][]) => {
  return { system, variant, context: 512, batch, rounds };
};
const series = [1, 8].flatMap((batch) => [
  cell("sparq", "default", batch, [
    [1, 2, 90],
    [4, 4],
    [2, 2],
  ]),
  cell("sparq", "dense", batch, [[4], [8], [4]]),
  cell("llama.cpp", "dense", batch, [[8 * batch], [8 * batch], [4 * batch]]),
  cell("transformers", "dense", batch, [[20], [40], [20]]),
]);
const decode = decodeMeasurements(series);
const prefill = prefillMeasurements([
  { system: "sparq", context: 1000, rounds: [1, 2, 4] },
  { system: "llama.cpp", context: 1000, rounds: [2, 4, 16] },
]);

function figure(all: readonly Measurement[], title: string) {
  return all.find((one) => titleOf(one) === title);
}

it("a step's time and the speed are medians of rounds' medians", () => {
  expect(figure(decode, "decode step (system sparq, variant default, context 512, batch 8)")).toMatchObject({
    ...{ value: 2, interval: [2, 4], rounds: [2, 4, 2], unit: "ms", better: "lower" },
  });
  expect(figure(decode, "decode speed (system sparq, variant default, context 512, batch 8)")).toMatchObject({
    ...{ value: 4000, interval: [2000, 4000], unit: "tokens/s", better: null },
  });
});

it("sparq's speed is divided by each peer's, round by round, in the same cell", () => {
  const against = (peer: string, variant: string, batch: number) =>
    figure(decode, `decode speed against a peer (variant ${variant}, peer ${peer}, context 512, batch ${batch})`)
      ?.rounds;
  expect(against("llama.cpp", "default", 1)).toEqual([4, 2, 2]);
  expect(against("llama.cpp", "dense", 8)).toEqual([16, 8, 8]);
  expect(against("transformers", "default", 8)).toEqual([10, 10, 10]);
  expect(decode.filter(({ name }) => name === "decode speed against a peer")).toHaveLength(2 * 2 * 2);
  expect(figure(prefill, "prefill speed against a peer (peer llama.cpp, context 1000)")).toMatchObject({
    ...{ value: 2, rounds: [2, 2, 4] },
  });
});

it("without peers there are no ratios", () => {
  const alone = decodeMeasurements(series.filter(({ system }) => system === "sparq"));
  expect(new Set(alone.map(({ name }) => name))).toEqual(new Set(["decode step", "decode speed"]));
});

it("the tables have sparq's speed in a peer's beside the peer", () => {
  const lines = formatTables([...decode, ...prefill]).split("\n");
  expect(lines).toContain("| 512 | 1 | sparq | dense | 4.00 (4.00 to 8.00) | 250.0 |  |  |");
  expect(lines).toContain(
    "| 512 | 1 | transformers | dense | 20.00 (20.00 to 40.00) | 50.0 | 10.00x (10.00 to 10.00) | 5.00x (5.00 to 5.00) |",
  );
  expect(lines).toContain("| 1000 | llama.cpp | 250 (63 to 500) | 2.00x (2.00 to 4.00) |");
});

it("the pictures have a line for each peer", async () => {
  const figures = compareFigures({ measurements: [...decode, ...prefill] } as unknown as BenchRecord);
  expect(figures.map(({ id }) => id)).toEqual(["against-default", "against-dense", "step"]);
  const [own] = figures;
  const svg = await toSvg(own!.spec);
  // One context, two batches: the batch is the axis.
  for (const text of [">llama.cpp<", ">transformers<", ">sequences<"]) expect(svg).toContain(text);
  const alone = decode.filter(({ labels }) => labels.system === "sparq");
  expect(compareFigures({ measurements: alone } as unknown as BenchRecord).map(({ id }) => id)).toEqual(["step"]);
});

it("random tokens are valid, repeatable, and others with another seed", () => {
  const ids = tokenIds(1000, 300, 1);
  expect(ids).toEqual(tokenIds(1000, 300, 1));
  expect(ids).not.toEqual(tokenIds(1000, 300, 2));
  expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < 300)).toBe(true);
  expect(new Set(ids).size).toBeGreaterThan(250);
});
