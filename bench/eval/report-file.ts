import { DataError, readJson } from "./data/fields.ts";
import type { EvalReport } from "./types.ts";

/** A report as `sparq eval --json` writes it. Throws DataError, naming file and field, for another file. */
export function readReport(path: string): EvalReport {
  const file = readJson(path);
  const version = file.find("version");
  if (version === undefined) throw new DataError(`${path} has no version: it is no report of sparq eval`);
  const report = file.raw() as EvalReport;
  if (report.version !== 1) throw new DataError(`${path} has version ${report.version}; this sparq knows version 1`);
  file.get("model").text();
  for (const set of file.get("sets").list()) set.get("task").text();
  for (const result of file.get("results").list()) {
    for (const field of ["task", "variant", "metric"]) result.get(field).text();
    const { n, items } = result.raw() as EvalReport["results"][number];
    if (!Array.isArray(items) || items.length !== n) throw result.error(`must have ${n} items`);
  }
  return report;
}
