/** A table as Markdown has it. Throws RangeError for a row of another length than the head. */
export function markdownTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const wrong = rows.find((row) => row.length !== head.length);
  if (wrong)
    throw new RangeError(`a row has ${wrong.length} cells under a head of ${head.length}: ${wrong.join(", ")}`);
  const lines = [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  return lines.join("\n");
}

const OPENING = /<!-- figures: ([a-z0-9-]+) -->/g;
const CLOSING = "<!-- end of figures -->";

/**
 * The text with what stands between `<!-- figures: NAME -->` and `<!-- end of figures -->` made anew by `render(NAME)`. Throws
 * RangeError for a mark that is not closed.
 */
export function fillMarks(text: string, render: (name: string) => string): string {
  let filled = "";
  let at = 0;
  for (const { 0: opening, 1: name, index } of text.matchAll(OPENING)) {
    const begin = index + opening.length;
    const end = text.indexOf(CLOSING, begin);
    const next = text.indexOf("<!-- figures:", begin);
    if (end < 0 || (next >= 0 && next < end)) throw new RangeError(`figures ${name} are opened and not closed`);
    filled += `${text.slice(at, begin)}\n${render(name!)}\n`;
    at = end;
  }
  return filled + text.slice(at);
}
