import { needleCells, needleChart } from "../eval/report/needle-chart.ts";
import { trafficChart } from "../eval/report/traffic-chart.ts";
import { toSvg } from "../report/chart.ts";
import { sweepFigures } from "../sweep/figures.ts";
import { agreements, evaluations, type Load } from "./tables.ts";

/** The pictures under docs/images/, as SVG. */
export const plots: Readonly<Record<string, (load: Load) => Promise<string>>> = {
  "squad-traffic": (load) => {
    const results = evaluations(load).flatMap((report) => report.results);
    return toSvg(trafficChart(results.filter(({ task, tokens }) => task === "squad-answers" && tokens === 2048)));
  },
  ...Object.fromEntries(
    ["faster-batch-8", "split-batch-8"].map((id) => [
      `sweep-${id}`,
      (load: Load) => {
        const figure = sweepFigures(load("sweep")).find((one) => one.id === id);
        if (figure === undefined) throw new RangeError(`the sweep has no picture ${id}`);
        return toSvg(figure.spec);
      },
    ]),
  ),
  "divergence-traffic": (load) => {
    const results = agreements(load).flatMap((report) => report.results);
    const of = results.filter(({ task, tokens, metric }) => task === "agreement" && tokens === 2048 && metric === "KL");
    return toSvg(trafficChart(of));
  },
  ...Object.fromEntries(
    ["dense", "default", "sparq:1/8", "window:1/8"].map((variant) => [
      `needle-${variant.replace(/[:/]/g, "-")}`,
      (load: Load) => {
        const reports = evaluations(load);
        const merged = {
          sets: reports.flatMap(({ sets }) => sets),
          results: reports.flatMap(({ results }) => results),
        };
        return toSvg(needleChart(needleCells(merged, variant), variant));
      },
    ]),
  ),
};
