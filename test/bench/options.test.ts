import { InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import { count, counts, toFlags } from "../../bench/options.ts";
import { mean, median, quantile, standardError } from "../../bench/statistics.ts";

describe("numbers of the command line", () => {
  it("takes whole numbers in range", () => {
    expect(count(1, 64)("64")).toBe(64);
    expect(counts(1, 8192)("2048,512,2048")).toEqual([512, 2048]);
  });

  it.each(["", "0", "65", "1.5", "-1", "1e1", "0x10", " 1", "many", "1,2"])("refuses %j as one number", (text) => {
    expect(() => count(1, 64)(text)).toThrow(new InvalidArgumentError("It must be a whole number from 1 to 64."));
  });

  it.each(["", "1,", ",1", "1,,2", "1, 2", "1;2", "0,1"])("refuses %j as a list", (text) => {
    expect(() => counts(1, 64)(text)).toThrow(/whole numbers from 1 to 64, separated by commas/);
  });

  it("makes flags of options again", () => {
    const options = { context: [512, 2048], kvDtype: "f16", json: undefined, prefill: false, quick: true, local: 0 };
    expect(toFlags(options)).toBe("--context 512,2048 --kv-dtype f16 --quick --local 0");
  });

  it("leaves out of the flags where results go", () => {
    expect(toFlags({ k: 8, json: "/a.json", report: "/a.html", baseline: "/b.json" })).toBe("--k 8");
  });
});

describe("statistics", () => {
  it("interpolates between neighbours, whatever the order", () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(quantile([30, 10, 20], 0.1)).toBe(12);
    expect(quantile([7], 0.9)).toBe(7);
  });

  it("does not sort the caller's values", () => {
    const values = [3, 1, 2];
    median(values);
    expect(values).toEqual([3, 1, 2]);
  });

  it("knows how sure a mean is", () => {
    expect(mean([1, 2, 6])).toBe(3);
    // Deviations -2, -1, 3: a sample variance of 7.
    expect(standardError([1, 2, 6])).toBeCloseTo(Math.sqrt(7 / 3), 12);
    expect(standardError([5])).toBeNaN();
  });

  it("has no median and no mean of nothing", () => {
    expect(() => median([])).toThrow(RangeError);
    expect(() => mean([])).toThrow(RangeError);
  });
});
