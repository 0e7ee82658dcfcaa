import { DataError, readLines } from "./fields.ts";

export interface Summary {
  readonly id: string;
  readonly article: string;
  readonly highlights: string;
}

/** Lines of `{id, article, highlights}`, as CNN/DailyMail is commonly kept. Throws DataError, naming file and line. */
export function readSummaries(path: string): Summary[] {
  const summaries = readLines(path).map((line) => ({
    id: line.get("id").text(),
    article: line.get("article").text(),
    highlights: line.get("highlights").text(),
  }));
  if (summaries.length === 0) throw new DataError(`${path} has no articles`);
  return summaries;
}
