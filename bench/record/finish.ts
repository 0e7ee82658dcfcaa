import { writeFileSync } from "node:fs";
import type { CliIo } from "../../server/cli/io.ts";
import { compareRecords, formatComparison } from "./baseline.ts";
import type { RecordOptions } from "./options.ts";
import { type BenchRecord, readRecord } from "./record.ts";

/**
 * Writes what the options ask for and resolves to the exit code: 1 if a figure is worse than the baseline's by more than the
 * noise, or was not measured. Throws RecordError for a baseline that cannot be compared, once everything is written.
 */
export async function finish(record: BenchRecord, options: RecordOptions, io: CliIo): Promise<number> {
  const text = `${JSON.stringify(record, null, 2)}\n`;
  if (options.json) writeFileSync(options.json, text);
  if (options.report) {
    // What is drawn can be read, and drawn or compared again.
    writeFileSync(options.report.replace(/(\.html?)?$/i, ".json"), text);
    const { writeReport } = await import("../report/write.ts");
    await writeReport(options.report, [record]);
  }
  if (!options.baseline) return 0;
  const comparison = compareRecords(record, readRecord(options.baseline));
  io.out(formatComparison(comparison));
  const worse = comparison.changes.some(({ verdict }) => verdict === "worse");
  return worse || comparison.missing.length > 0 ? 1 : 0;
}
