import { lexer, type MarkedToken, type Token, type Tokens } from "marked";
import type { ComponentChild } from "preact";

/**
 * Markdown as elements. marked only cuts the text into tokens; each becomes an element of a kind that is named here, with
 * text inside, so that no text is ever read as HTML. Links go to http, https and mailto alone; images are not loaded.
 */
export function markdown(text: string): ComponentChild {
  try {
    return blocks(lexer(text, { gfm: true }));
  } catch {
    // Nested without end, it overflows marked's stack.
    return plain(text);
  }
}

/** Text as it is. */
export function plain(text: string): ComponentChild {
  return <p class="plain">{text}</p>;
}

/** Deeper than anybody reads; without a bound, a row of ">" would overflow the stack when it is rendered. */
const DEEPEST = 24;
let depth = 0;

function blocks(tokens: readonly Token[]): ComponentChild[] {
  depth += 1;
  try {
    return tokens.map((token) => (depth > DEEPEST ? token.raw : element(token as MarkedToken)));
  } finally {
    depth -= 1;
  }
}

function element(token: MarkedToken): ComponentChild {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      return heading(token);
    case "paragraph":
      return <p>{blocks(token.tokens)}</p>;
    case "code":
      return (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
        <pre tabIndex={0}>
          <code>{token.text}</code>
        </pre>
      );
    case "blockquote":
      return <blockquote>{blocks(token.tokens)}</blockquote>;
    case "list":
      return list(token);
    case "table":
      return table(token);
    case "hr":
      return <hr />;
    case "strong":
      return <strong>{blocks(token.tokens)}</strong>;
    case "em":
      return <em>{blocks(token.tokens)}</em>;
    case "del":
      return <del>{blocks(token.tokens)}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "br":
      return <br />;
    case "link":
      return link(token);
    case "image":
      return token.raw;
    case "text":
      return "tokens" in token && token.tokens ? blocks(token.tokens) : token.text;
    case "escape":
      return token.text;
    default:
      // HTML among it: shown as it was written.
      return token.raw;
  }
}

/** One level and more below the page's own. */
function heading({ depth, tokens }: Tokens.Heading) {
  const Level = `h${Math.min(6, depth + 2)}` as "h3";
  return <Level>{blocks(tokens)}</Level>;
}

function list({ ordered, start, items }: Tokens.List) {
  const children = items.map((item) => (
    <li>
      {item.task ? (item.checked ? "☑ " : "☐ ") : null}
      {blocks(item.tokens.filter(({ type }) => type !== "checkbox"))}
    </li>
  ));
  return ordered ? <ol start={start === "" ? 1 : start}>{children}</ol> : <ul>{children}</ul>;
}

function table({ header, rows, align }: Tokens.Table) {
  const style = (column: number) => ({ textAlign: align[column] ?? "start" });
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
    <div class="table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            {header.map((cell, i) => (
              <th style={style(i)}>{blocks(cell.tokens)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr>
              {row.map((cell, i) => (
                <td style={style(i)}>{blocks(cell.tokens)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function link({ href, tokens, raw }: Tokens.Link) {
  if (!/^(https?:\/\/|mailto:)/i.test(href)) return raw;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {blocks(tokens)}
    </a>
  );
}
