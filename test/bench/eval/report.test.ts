import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { needleCells } from "../../../bench/eval/report/needle-chart.ts";
import { renderReport } from "../../../bench/eval/report/report.ts";
import { formatJson } from "../../../bench/eval/table.ts";
import type { EvalReport, EvalResult } from "../../../bench/eval/types.ts";
import { Html, html } from "../../../bench/report/html.ts";
import { runCli } from "../../support/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-eval-report-"));
afterAll(() => rmSync(folder, { recursive: true }));

function result(task: string, variant: string, value: number, more: Partial<EvalResult> = {}): EvalResult {
  const items = [value, value, value, value];
  return {
    task,
    variant,
    tokens: null,
    metric: task === "needle" ? "found" : "match",
    better: "higher",
    value,
    stderr: 0.1,
    n: 4,
    bytesRatio: 0.25,
    sparseBytesRatio: 0.25,
    items,
    ...more,
  };
}

const set = { tokens: null, n: 4, promptTokens: 2000, data: "sample", sha256: "a" };
const layers = [
  { rows: 5, recall: 0.5, massKept: 0.9, alpha: 0.8 },
  { rows: 5, recall: 0.7, massKept: 0.95, alpha: 0.9 },
];
const report: EvalReport = {
  version: 1,
  command: "sparq eval --tasks <squad>",
  model: "tiny & llama",
  machine: { cpu: "cpu", cores: 2, memoryGb: 8, platform: "linux x64", threads: 2 },
  settings: { n: 4, seed: 1, batch: 8, question: "variant", prompts: "plain" },
  seconds: 90,
  sets: [
    { ...set, task: "squad" },
    { ...set, task: "needle", tokens: 1024, depths: [0, 1, 0, 1] },
    { ...set, task: "needle", tokens: 2048, depths: [0, 1, 0, 1] },
  ],
  results: [
    result("squad", "dense", 0.75, { bytesRatio: 1, sparseBytesRatio: null }),
    result("squad", "sparq:1/8", 0.5, { layers }),
    result("squad", "onnx", 0.75, { bytesRatio: null, sparseBytesRatio: null }),
    result("needle", "sparq:1/8", 0.75, { tokens: 1024, items: [1, 0, 1, 1] }),
    result("needle", "sparq:1/8", 0.25, { tokens: 2048, items: [1, 0, 0, 0] }),
  ],
};

describe("the page", () => {
  it("has every variant as a point, those without bytes as a line, and needles as cells", async () => {
    const { text } = await renderReport([report]);
    // Labels of the three charts' points.
    for (const variant of ["dense", "sparq:1/8", "onnx"]) expect(text).toContain(`>${variant}</text>`);
    const [squad] = text.match(/<figure><figcaption>match.*?<\/figure>/s)!;
    expect(squad.match(/aria-roledescription="symbol mark container"><path/g)).toHaveLength(1);
    expect(squad.match(/<path [^>]*fill="#(555555|d1495b)"/g)).toHaveLength(2);
    expect(squad).toContain('stroke-dasharray="4,4"');
    expect(squad.match(/<line [^>]*stroke="#(555555|d1495b|999999)"/g)).toHaveLength(3);
    expect(text).toContain("recall of the exact top-k, by layer");
    expect(text).toContain("needle: found"); // over lengths
    expect(text.match(/>(100|50|0)%<\/text>/g)!.length).toBeGreaterThanOrEqual(4);
    expect(text).toContain("<td>0.5 ± 0.1</td>");
  });

  it("has the paper's table beside", async () => {
    expect((await renderReport([report])).text).toContain("81.2 / 81.2 / 78.3");
  });

  it("escapes what it shows, and refers to nothing outside", async () => {
    const { text } = await renderReport([report]);
    expect(text).toContain("<h2>tiny &#38; llama</h2>");
    expect(text).toContain("sparq eval --tasks &#60;squad&#62;");
    expect(text).not.toMatch(/<script|<link|<img|\bsrc=|url\(/);
    const linked = text.match(/https?:\/\/[^"\s<]+/g) ?? [];
    expect(new Set(linked.filter((url) => !url.startsWith("http://www.w3.org/")))).toEqual(new Set());
  });

  it("is written by --report, from files of results", async () => {
    const json = join(folder, "a.json");
    const page = join(folder, "a.html");
    writeFileSync(json, formatJson(report));
    expect(JSON.parse(readFileSync(json, "utf8"))).toEqual(report);
    expect(await runCli(["eval", "--report", page, json, json])).toMatchObject({ exitCode: 0, out: "", err: "" });
    // Of one model and the same results: once.
    expect(readFileSync(page, "utf8").match(/<h2>tiny/g)).toHaveLength(1);
    expect(readFileSync(page, "utf8").match(/<td>sparq:1\/8<\/td>/g)).toHaveLength(3);
    // Each picture is a file too.
    const { pictures } = await renderReport([report]);
    expect(pictures.map(({ name }) => name)).toEqual([
      ...["squad", "squad-layers-recall", "squad-layers-masskept", "squad-layers-alpha", "needle-1024", "needle-2048"],
      ...["length-needle-found", "needle-map-sparq-1-8"],
    ]);
    for (const { name, svg } of pictures) expect(readFileSync(join(folder, `a-${name}.svg`), "utf8")).toBe(svg);
    const { exitCode, err } = await runCli(["eval", json]);
    expect({ exitCode, err }).toEqual({
      exitCode: 2,
      err: expect.stringContaining("--report (or SPARQ_REPORT) must name the page to write of these files"),
    });
  });
});

it("needle cells are means by depth and length", () => {
  expect(needleCells(report, "sparq:1/8")).toEqual([
    { tokens: 1024, depth: 0, found: 1, n: 2 },
    { tokens: 1024, depth: 1, found: 0.5, n: 2 },
    { tokens: 2048, depth: 0, found: 0.5, n: 2 },
    { tokens: 2048, depth: 1, found: 0, n: 2 },
  ]);
});

it("a template escapes values and joins lists", () => {
  expect(html`<p>${`<"&'>`}${[new Html("<b>"), "<"]}</p>`.text).toBe("<p>&#60;&#34;&#38;&#39;&#62;<b>&#60;</p>");
});
