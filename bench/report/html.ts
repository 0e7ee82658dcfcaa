/** HTML that is known to be: what tables and pages are made of. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** A template whose values are escaped unless they are Html; lists are joined. */
export function html(parts: TemplateStringsArray, ...values: readonly unknown[]): Html {
  return new Html(parts.reduce((whole, part, i) => whole + shown(values[i - 1]) + part));
}

function shown(value: unknown): string {
  if (value instanceof Html) return value.text;
  if (Array.isArray(value)) return value.map(shown).join("");
  return String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

export function table(head: readonly string[], rows: readonly (readonly unknown[])[]): Html {
  const cells = (row: readonly unknown[]) => row.map((cell) => html`<td>${cell}</td>`);
  return html`<table><thead><tr>${head.map((cell) => html`<th>${cell}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${cells(row)}</tr>\n`)}</tbody></table>\n`;
}

export function page(title: string, body: readonly Html[]): string {
  return html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff; }
  table { border-collapse: collapse; margin: 1rem 0; }
  th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; }
  th:first-child, td:first-child { text-align: left; }
  figure { display: inline-block; margin: 0.5rem 1rem 0.5rem 0; vertical-align: top; }
  figcaption { font-weight: 600; }
  code { overflow-wrap: anywhere; }
  svg { max-width: 100%; height: auto; }
</style>
<body>
<h1>${title}</h1>
${body}
</body>
</html>
`.text;
}
