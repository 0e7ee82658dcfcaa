import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { finish } from "../../../bench/record/finish.ts";
import { measured } from "../../../bench/record/measurement.ts";
import { recordOf } from "../../../bench/record/record.ts";
import type { CliIo } from "../../../server/cli/io.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-finish-"));
afterAll(() => rmSync(folder, { recursive: true }));

const recordWith = (rounds: number[]) =>
  recordOf({
    ...{ bench: "decode", command: "sparq bench decode", model: "tiny <llama>", settings: {} },
    ...{ threads: 2, started: performance.now() },
    measurements: [measured({ name: "step", labels: {}, unit: "ms", better: "lower" }, rounds)],
  });

function output() {
  const lines: string[] = [];
  return { lines, io: { out: (text: string) => lines.push(text) } as unknown as CliIo };
}

it("writes the page and the record beside it", async () => {
  const record = recordWith([1, 2, 3]);
  const { io } = output();
  expect(await finish(record, { report: join(folder, "page.html"), json: join(folder, "own.json") }, io)).toBe(0);
  expect(readdirSync(folder).sort()).toEqual(["own.json", "page.html", "page.json"]);
  for (const name of ["own", "page"]) {
    expect(JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"))).toEqual(JSON.parse(JSON.stringify(record)));
  }
  const page = readFileSync(join(folder, "page.html"), "utf8");
  expect(page).toContain("tiny &#60;llama&#62;");
  expect(page).toContain("<td>2</td><td>ms</td><td>1 to 3</td>");
});

it("ends with code 1 if a figure is worse than the baseline's by more than the noise, and with 0 if not", async () => {
  const baseline = join(folder, "baseline.json");
  writeFileSync(baseline, JSON.stringify(recordWith([1, 2, 3])));
  const worse = output();
  expect(await finish(recordWith([4, 5, 6]), { baseline }, worse.io)).toBe(1);
  expect(worse.lines.join("")).toContain("| step | 2 ms | 5 ms | 0.40 | worse |");
  const same = output();
  expect(await finish(recordWith([3, 4, 5]), { baseline }, same.io)).toBe(0);
  expect(same.lines.join("")).toContain("1 of 1 figures within the noise");
});
