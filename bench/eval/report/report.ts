import { toSvg } from "../../report/chart.ts";
import { Html, html, page, table } from "../../report/html.ts";
import { tasks } from "../tasks/index.ts";
import type { EvalReport, EvalResult } from "../types.ts";
import { type LinePoint, lineChart } from "./line-chart.ts";
import { needleCells, needleChart } from "./needle-chart.ts";
import { paperBaselines, paperRows, paperTasks } from "./paper.ts";
import { trafficChart } from "./traffic-chart.ts";

/** A page with all of the reports' results as pictures and tables. It refers to nothing outside itself. */
export async function renderReport(reports: readonly EvalReport[]): Promise<string> {
  const sections: Html[] = [];
  for (const report of reports) sections.push(await sectionOf(report));
  return page("What a model still gets right", [...sections, paperSection()]);
}

async function sectionOf(report: EvalReport): Promise<Html> {
  const { model, machine, settings, seconds, command } = report;
  const where = machine === null ? "on a server" : `on ${machine.cpu}, ${machine.threads} threads`;
  const head = html`<h2>${model}</h2>
<p>${Math.round(seconds / 6) / 10} minutes ${where}; seed ${settings.seed}; questions read
${settings.question === "dense" ? "densely" : "as the variant attends"}; ${settings.prompts} prompts. Bars are standard errors.<br>
<code>${command}</code></p>\n`;
  const parts: Html[] = [head];
  for (const { task, tokens, n, promptTokens, data } of report.sets) {
    const own = report.results.filter((result) => result.task === task && result.tokens === tokens);
    const length = promptTokens === null ? "" : `, ${promptTokens} tokens each`;
    parts.push(html`<h3>${task}${tokens === null ? "" : ` at ${tokens} tokens`}</h3>
<p>${tasks.get(task)?.description ?? ""}. ${n} items${length} (${data}).</p>\n`);
    for (const metric of new Set(own.map((result) => result.metric))) {
      const shown = own.filter((result) => result.metric === metric);
      parts.push(await figure(metric, trafficChart(shown)));
    }
    parts.push(html`<figure>${resultTable(own)}</figure>\n`, await layerCharts(own));
  }
  parts.push(await byLength(report), await needles(report));
  return html`${parts}`;
}

function resultTable(results: readonly EvalResult[]): Html {
  const number = (value: number | null, digits = 4) =>
    value === null ? "" : String(Number(value.toPrecision(digits)));
  const rows = results.map(({ variant, metric, value, stderr, n, bytesRatio, sparseBytesRatio }) => [
    variant,
    metric,
    stderr === null ? number(value) : `${number(value)} ± ${number(stderr, 2)}`,
    n,
    number(bytesRatio, 3),
    number(sparseBytesRatio, 3),
  ]);
  return table(["variant", "metric", "value", "n", "bytes / dense", "of sparse rows"], rows);
}

/** What each layer keeps, where it was observed. */
async function layerCharts(results: readonly EvalResult[]): Promise<Html> {
  const observed = results.filter(({ layers }) => layers !== undefined);
  if (observed.length === 0) return html``;
  const figures: Html[] = [];
  for (const [field, name] of [
    ["recall", "recall of the exact top-k"],
    ["massKept", "mass kept"],
    ["alpha", "alpha"],
  ] as const) {
    const points = observed.flatMap(({ variant, layers }) =>
      layers!.flatMap((layer, x) => (layer.rows > 0 ? [{ variant, x, y: layer[field] }] : [])),
    );
    if (points.length > 0) figures.push(await figure(`${name}, by layer`, lineChart(points, { x: "layer", y: name })));
  }
  return html`<div>${figures}</div>\n`;
}

/** Values over lengths, of tasks that ran at more than one. */
async function byLength({ results }: EvalReport): Promise<Html> {
  const figures: Html[] = [];
  for (const key of new Set(results.map(({ task, metric }) => `${task}: ${metric}`))) {
    const own = results.filter(({ task, metric, tokens }) => `${task}: ${metric}` === key && tokens !== null);
    if (new Set(own.map(({ tokens }) => tokens)).size < 2) continue;
    const points: LinePoint[] = own.map(({ variant, tokens, value }) => ({ variant, x: tokens!, y: value }));
    figures.push(await figure(key, lineChart(points, { x: "tokens", y: own[0]!.metric, logX: true })));
  }
  return figures.length === 0 ? html`` : html`<h3>By length</h3>\n${figures}`;
}

async function needles(report: EvalReport): Promise<Html> {
  const variants = new Set(report.results.filter(({ task }) => task === "needle").map(({ variant }) => variant));
  const figures: Html[] = [];
  for (const variant of variants) figures.push(await figure("", needleChart(needleCells(report, variant), variant)));
  return figures.length === 0 ? html`` : html`<h3>Needle by depth and length</h3>\n${figures}`;
}

async function figure(caption: string, spec: Parameters<typeof toSvg>[0]): Promise<Html> {
  const svg = new Html(await toSvg(spec));
  return html`<figure>${caption === "" ? html`` : html`<figcaption>${caption}</figcaption>`}${svg}</figure>\n`;
}

function paperSection(): Html {
  return html`<h2>The SparQ paper's results</h2>
<p>arXiv 2312.04985v6: dense, a half and an eighth of the traffic. Larger models and whole data sets: the falls compare, the values do
not. At an eighth, Llama-3-8B on SQuAD: ${paperBaselines}.</p>
${table(["model", ...paperTasks], paperRows)}`;
}
