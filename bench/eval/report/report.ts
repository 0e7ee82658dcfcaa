import { type Html, html, page, table } from "../../report/html.ts";
import { type Page, Pictures } from "../../report/pictures.ts";
import { type LinePoint, lineChart } from "../../report/series-chart.ts";
import { fromDense } from "../paired.ts";
import { tasks } from "../tasks/index.ts";
import type { EvalReport, EvalResult } from "../types.ts";
import { needleCells, needleChart } from "./needle-chart.ts";
import { paperBaselines, paperRows, paperTasks } from "./paper.ts";
import { trafficChart } from "./traffic-chart.ts";

/** A page with all of the reports' results as pictures and tables. It refers to nothing outside itself. */
export async function renderReport(reports: readonly EvalReport[]): Promise<Page> {
  const sections: Html[] = [];
  const pictures = new Pictures();
  for (const model of new Set(reports.map((report) => report.model))) {
    sections.push(await sectionOf(model, merge(reports.filter((report) => report.model === model)), pictures));
  }
  return { text: page("What a model still gets right", [...sections, paperSection()]), pictures: pictures.drawn };
}

/** Runs of one model, together; of what two of them have, the first's. */
interface Merged extends Pick<EvalReport, "sets" | "results"> {
  readonly runs: readonly EvalReport[];
}

function merge(runs: readonly EvalReport[]): Merged {
  const sets = runs.flatMap((run) => run.sets);
  const results = runs.flatMap((run) => run.results);
  const keyOf = ({ task, tokens, variant, metric }: EvalResult) => JSON.stringify([task, tokens, variant, metric]);
  return {
    runs,
    sets: firstOfEach(sets, ({ task, tokens }) => JSON.stringify([task, tokens])),
    results: firstOfEach(results, keyOf),
  };
}

function firstOfEach<T>(values: readonly T[], keyOf: (value: T) => string): T[] {
  const found = new Map<string, T>();
  for (const value of values) if (!found.has(keyOf(value))) found.set(keyOf(value), value);
  return [...found.values()];
}

function headOf({ machine, settings, seconds, command }: EvalReport): Html {
  const where = machine === null ? "on a server" : `on ${machine.cpu}, ${machine.threads} threads`;
  return html`<p>${Math.round(seconds / 6) / 10} minutes ${where}; seed ${settings.seed}; questions read
${settings.question === "dense" ? "densely" : "as the variant attends"}; ${settings.prompts} prompts. Bars are standard errors.<br>
<code>${command}</code></p>\n`;
}

async function sectionOf(model: string, report: Merged, pictures: Pictures): Promise<Html> {
  const parts: Html[] = [html`<h2>${model}</h2>${report.runs.map(headOf)}`];
  for (const { task, tokens, n, promptTokens, data } of report.sets) {
    const own = report.results.filter((result) => result.task === task && result.tokens === tokens);
    const length = promptTokens === null ? "" : `, ${promptTokens} tokens each`;
    parts.push(html`<h3>${task}${tokens === null ? "" : ` at ${tokens} tokens`}</h3>
<p>${tasks.get(task)?.description ?? ""}. ${n} items${length} (${data}).</p>\n`);
    for (const metric of new Set(own.map((result) => result.metric))) {
      const shown = own.filter((result) => result.metric === metric);
      const name = [task, tokens ?? [], own[0]?.metric === metric ? [] : metric].flat().join("-");
      parts.push(await pictures.figure(name, metric, trafficChart(shown)));
    }
    parts.push(
      html`<figure>${resultTable(own)}</figure>\n`,
      await layerCharts(own, `${task}-${tokens ?? ""}`, pictures),
    );
  }
  parts.push(await byLength(report, pictures), await needles(report, pictures));
  return html`${parts}`;
}

function resultTable(results: readonly EvalResult[]): Html {
  const number = (value: number | null, digits = 4) =>
    value === null ? "" : String(Number(value.toPrecision(digits)));
  const withError = (value: number, error: number | null) =>
    error === null ? number(value) : `${number(value)} ± ${number(error, 2)}`;
  const rows = results.map((result) => {
    const { variant, metric, value, stderr, n, bytesRatio, sparseBytesRatio } = result;
    const paired = fromDense(result, results);
    const difference = paired === null ? "" : withError(paired.difference, paired.stderr);
    return [
      variant,
      metric,
      withError(value, stderr),
      difference,
      n,
      number(bytesRatio, 3),
      number(sparseBytesRatio, 3),
    ];
  });
  return table(["variant", "metric", "value", "from dense, by item", "n", "bytes / dense", "of sparse rows"], rows);
}

/** What each layer keeps, where it was observed. */
async function layerCharts(results: readonly EvalResult[], set: string, pictures: Pictures): Promise<Html> {
  const observed = results.filter(({ layers }) => layers !== undefined);
  if (observed.length === 0) return html``;
  const figures: Html[] = [];
  for (const [field, name] of [
    ["recall", "recall of the exact top-k"],
    ["massKept", "mass kept"],
    ["alpha", "alpha"],
  ] as const) {
    const points = observed.flatMap(({ variant, layers }) =>
      layers!.flatMap((layer, x) => (layer.rows > 0 ? [pointAt(variant, x, layer[field], 0)] : [])),
    );
    if (points.length === 0) continue;
    figures.push(
      await pictures.figure(
        `${set}-layers-${field}`,
        `${name}, by layer`,
        lineChart(points, { xTitle: "layer", y: name, zero: false }),
      ),
    );
  }
  return html`<div>${figures}</div>\n`;
}

function pointAt(series: string, x: number, y: number, error: number): LinePoint {
  return { series, x, y, low: y - error, high: y + error };
}

/** Values over lengths, of tasks that ran at more than one. */
async function byLength({ results }: Merged, pictures: Pictures): Promise<Html> {
  const figures: Html[] = [];
  for (const key of new Set(results.map(({ task, metric }) => `${task}: ${metric}`))) {
    const own = results.filter(({ task, metric, tokens }) => `${task}: ${metric}` === key && tokens !== null);
    if (new Set(own.map(({ tokens }) => tokens)).size < 2) continue;
    const points = own.map(({ variant, tokens, value, stderr }) => pointAt(variant, tokens!, value, stderr ?? 0));
    const chart = lineChart(points, { xTitle: "tokens", y: own[0]!.metric, logX: true, zero: false });
    figures.push(await pictures.figure(`length-${key}`, key, chart));
  }
  return figures.length === 0 ? html`` : html`<h3>By length</h3>\n${figures}`;
}

async function needles(report: Merged, pictures: Pictures): Promise<Html> {
  const variants = new Set(report.results.filter(({ task }) => task === "needle").map(({ variant }) => variant));
  const figures: Html[] = [];
  for (const variant of variants) {
    figures.push(
      await pictures.figure(`needle-map-${variant}`, "", needleChart(needleCells(report, variant), variant)),
    );
  }
  return figures.length === 0 ? html`` : html`<h3>Needle by depth and length</h3>\n${figures}`;
}

function paperSection(): Html {
  return html`<h2>The SparQ paper's results</h2>
<p>arXiv 2312.04985v6: dense, a half and an eighth of the traffic. Larger models and whole data sets: the falls compare, the values do
not. At an eighth, Llama-3-8B on SQuAD: ${paperBaselines}.</p>
${table(["model", ...paperTasks], paperRows)}`;
}
