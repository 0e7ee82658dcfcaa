import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fillMarks } from "./markdown.ts";
import { plots } from "./plots.ts";
import { tables } from "./tables.ts";

export interface Document {
  /** From the repository's root. */
  readonly path: string;
  readonly text: string;
}

/** README.md, docs/*.md and the plots as the results under bench/results/ make them. Throws RangeError for an unknown mark. */
export async function documents(root: string): Promise<Document[]> {
  const results = join(root, "bench", "results");
  const load = (name: string) => JSON.parse(readFileSync(join(results, `${name}.json`), "utf8"));
  const markdown = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)];
  const found: Document[] = [];
  for (const path of markdown) {
    if (!path.endsWith(".md")) continue;
    const text = fillMarks(readFileSync(join(root, path), "utf8"), (name) => {
      const table = tables[name];
      if (table === undefined) throw new RangeError(`${path} has figures ${name}, which there are not`);
      return table(load);
    });
    found.push({ path, text });
  }
  for (const [name, plot] of Object.entries(plots))
    found.push({ path: `docs/images/${name}.svg`, text: await plot(load) });
  return found;
}
