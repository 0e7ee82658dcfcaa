import { describe, expect, it } from "vitest";
import { defaultThreads } from "../../attention/threads.ts";

const limits = (cores: number, files: Record<string, string> = {}) => ({ cores, read: (path: string) => files[path] });
const versionTwo = (text: string) => ({ "/sys/fs/cgroup/cpu.max": text });
const versionOne = (quota: string) => ({
  "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": quota,
  "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
});

describe("defaultThreads", () => {
  it.each([
    ["the cores without a cgroup", limits(6), 6],
    ["the cores without a quota", limits(6, versionTwo("max 100000\n")), 6],
    ["the quota below the cores", limits(64, versionTwo("400000 100000\n")), 4],
    ["the quota rounded down", limits(64, versionTwo("150000 100000\n")), 1],
    ["one for less than a CPU", limits(64, versionTwo("50000 100000\n")), 1],
    ["the cores below the quota", limits(2, versionTwo("1600000 100000\n")), 2],
    ["the quota of version 1", limits(64, versionOne("300000\n")), 3],
    ["the cores for version 1 without a quota", limits(5, versionOne("-1\n")), 5],
    ["the cores for a file that makes no sense", limits(5, versionTwo("many\n")), 5],
  ])("takes %s", (_, machine, expected) => {
    expect(defaultThreads({}, machine)).toBe(expected);
  });

  it("takes SPARQ_THREADS before all of them", () => {
    expect(defaultThreads({ SPARQ_THREADS: "12" }, limits(2))).toBe(12);
    expect(defaultThreads({ SPARQ_THREADS: "" }, limits(2))).toBe(2);
  });

  it.each(["0", "-1", "2.5", "two", "99999"])("refuses SPARQ_THREADS=%s", (value) => {
    const message = `SPARQ_THREADS must be a positive integer, got "${value}"`;
    expect(() => defaultThreads({ SPARQ_THREADS: value }, limits(2))).toThrow(new RangeError(message));
  });

  it("finds at least one thread on this machine", () => {
    expect(defaultThreads({})).toBeGreaterThanOrEqual(1);
  });
});
