import { expect, it } from "vitest";
import { bytes, duration, percent, rate } from "../../server/page/app/format.ts";

it("writes bytes in the unit that leaves few digits", () => {
  expect([0, 999, 1000, 1_550_000, 99_960_000, 999_600_000, 5e15].map(bytes)).toEqual([
    "0 B",
    "999 B",
    "1.0 kB",
    "1.6 MB",
    "100 MB",
    "1.0 GB",
    "5,000 TB",
  ]);
});

it("writes rates, durations and shares with the digits that matter", () => {
  expect([0, 0.04, 3.0625, 99.96, 1234.5].map(rate)).toEqual(["0", "0", "3.1", "100", "1,235"]);
  expect([0, 84.6, 999.6, 1204, 65_432].map(duration)).toEqual(["0 ms", "85 ms", "1.00 s", "1.20 s", "65.4 s"]);
  expect([0, 0.0123, 0.5, 1].map(percent)).toEqual(["0 %", "1.2 %", "50 %", "100 %"]);
});
