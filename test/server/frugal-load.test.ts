import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../attention/root.ts";
import { loadFrugally } from "../../server/cli/frugal-load.ts";

/** Megabytes of the young generation and of all objects in a process of its own that makes 300 MB of garbage, while it does and afterwards. */
function young(frugal: boolean): { readonly during: number; readonly after: number; readonly used: number } {
  const module = pathToFileURL(join(packageRoot(), "dist/server/cli/frugal-load.js")).href;
  const script = `
    import { getHeapSpaceStatistics, getHeapStatistics } from "node:v8";
    import { loadFrugally } from ${JSON.stringify(module)};
    const young = () => getHeapSpaceStatistics().find((space) => space.space_name === "new_space").space_size / 2 ** 20;
    let during = 0;
    const work = async () => {
      for (let i = 0; i < 300; i++) {
        const some = Array.from({ length: 20_000 }, (_, j) => ({ text: "x" + j }));
        during = Math.max(during, young() + some.length * 0);
      }
    };
    await (${frugal} ? loadFrugally(work) : work());
    console.log(JSON.stringify({ during, after: young(), used: getHeapStatistics().used_heap_size / 2 ** 20 }));`;
  return JSON.parse(execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" }));
}

describe("loading frugally", () => {
  it("keeps the young generation small, and collects what is garbage", () => {
    const [frugal, plain] = [young(true), young(false)];
    expect(plain.during).toBeGreaterThan(8);
    expect(frugal.during).toBeLessThanOrEqual(4);
    expect(frugal.after).toBeLessThanOrEqual(4);
    expect(frugal.used).toBeLessThan(12);
  });

  it("gives what was loaded, and the reason if it was not", async () => {
    expect(await loadFrugally(async () => 42)).toBe(42);
    await expect(loadFrugally(() => Promise.reject(new Error("no model")))).rejects.toThrow("no model");
  });
});
