import { titleOf } from "../record/measurement.ts";
import type { BenchRecord } from "../record/record.ts";
import { figuresOf } from "./figures.ts";
import { type Html, html, page, table } from "./html.ts";
import { type Page, Pictures, writePage } from "./pictures.ts";

/** A page with the records' pictures and figures that refers to nothing outside itself, and each picture as SVG beside it. */
export async function writeReport(path: string, records: readonly BenchRecord[]): Promise<void> {
  writePage(path, await renderReport(records));
}

export async function renderReport(records: readonly BenchRecord[]): Promise<Page> {
  const sections: Html[] = [];
  const pictures = new Pictures();
  for (const record of records) {
    const figures: Html[] = [];
    for (const { id, caption, spec } of figuresOf[record.bench]?.(record) ?? []) {
      figures.push(await pictures.figure(id, caption, spec));
    }
    sections.push(html`${headOf(record)}${figures}${measurementTable(record)}${skippedOf(record)}`);
  }
  const names = [...new Set(records.map(({ bench }) => bench))].join(", ");
  return { text: page(`sparq bench ${names}`, sections), pictures: pictures.drawn };
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
