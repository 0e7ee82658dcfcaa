import { writeFileSync } from "node:fs";
import type { Spec } from "vega";
import { toSvg } from "./chart.ts";
import { Html, html } from "./html.ts";

export interface Picture {
  /** Part of a file's name; unique on a page. */
  readonly name: string;
  readonly svg: string;
}

/** A page that needs nothing else, and its pictures, which are in it as well. */
export interface Page {
  readonly text: string;
  readonly pictures: readonly Picture[];
}

/** Draws the pictures of a page and remembers them. */
export class Pictures {
  readonly drawn: Picture[] = [];

  /** The picture as a part of the page. Of one name there may be several: they are numbered. */
  async figure(name: string, caption: string, spec: Spec): Promise<Html> {
    const svg = await toSvg(spec);
    const slug = name.toLowerCase().replace(/[^a-z0-9]+/g, "-");
    const same = this.drawn.filter((picture) => picture.name === slug || picture.name.startsWith(`${slug}--`)).length;
    this.drawn.push({ name: same === 0 ? slug : `${slug}--${same + 1}`, svg });
    const title = caption === "" ? html`` : html`<figcaption>${caption}</figcaption>`;
    return html`<figure>${title}${new Html(svg)}</figure>\n`;
  }
}

/** Writes page.html, and page-NAME.svg for each picture. */
export function writePage(path: string, { text, pictures }: Page): void {
  writeFileSync(path, text);
  const stem = path.replace(/\.html?$/i, "");
  for (const { name, svg } of pictures) writeFileSync(`${stem}-${name}.svg`, svg);
}
