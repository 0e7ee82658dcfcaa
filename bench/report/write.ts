import { writeFileSync } from "node:fs";
import { titleOf } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import { toSvg } from "./chart.ts";
import { figuresOf } from "./figures.ts";
import { Html, html, page, table } from "./html.ts";

/** A page with the records' pictures and figures that refers to nothing outside itself, and each picture as SVG beside it. */
export async function writeReport(path: string, records: readonly BenchRecord[]): Promise<void> {
  const { text, pictures } = await renderReport(records);
  writeFileSync(path, text);
  const stem = path.replace(/\.html?$/i, "");
  for (const { name, svg } of pictures) writeFileSync(`${stem}-${name}.svg`, svg);
}

/** The page, and its pictures by the names that tell them apart. */
export async function renderReport(
  records: readonly BenchRecord[],
): Promise<{ readonly text: string; readonly pictures: readonly { readonly name: string; readonly svg: string }[] }> {
  const sections: Html[] = [];
  const pictures: { name: string; svg: string }[] = [];
  for (const [i, record] of records.entries()) {
    const figures: Html[] = [];
    for (const { id, caption, spec } of figuresOf[record.bench]?.(record) ?? []) {
      const svg = await toSvg(spec);
      pictures.push({ name: records.length > 1 ? `${i + 1}-${id}` : id, svg });
      figures.push(html`<figure><figcaption>${caption}</figcaption>${new Html(svg)}</figure>\n`);
    }
    sections.push(html`${headOf(record)}${figures}${measurementTable(record)}${skippedOf(record)}`);
  }
  const names = [...new Set(records.map(({ bench }) => bench))].join(", ");
  return { text: page(`sparq bench ${names}`, sections), pictures };
}

function headOf(record: BenchRecord): Html {
  const { bench, model, machine, command, commit, date, versions, settings, seconds } = record;
  const parts = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return html`<h2>${bench}: ${model}</h2>
<p>${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.platform}; ${machine.threads} threads. ${parts.join(", ")}.
${date}, commit ${commit ?? "unknown"}, ${Math.round(seconds)} seconds.<br>
<code>${command}</code><br>
<code>${JSON.stringify(settings)}</code></p>\n`;
}

function measurementTable({ measurements }: BenchRecord): Html {
  const rows = measurements.map((measurement) => {
    const { value, unit, interval, rounds } = measurement;
    return [
      titleOf(measurement),
      value,
      unit,
      interval === null ? "" : `${interval[0]} to ${interval[1]}`,
      rounds.length,
    ];
  });
  return html`<details><summary>All ${measurements.length} figures: medians of rounds, each with the interval in which its median lies (95 %;
with three to five rounds their range)</summary>
${table(["figure", "median", "unit", "interval", "rounds"], rows)}</details>\n`;
}

function skippedOf({ skipped }: BenchRecord): Html {
  return html`${skipped.map(({ what, reason }) => html`<p>Left out: ${what}: ${reason}</p>\n`)}`;
}
