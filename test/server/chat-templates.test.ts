import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ChatTemplate, ChatTemplateError } from "../../server/chat-template.ts";
import { strip } from "../../server/python-jinja.ts";
import { goldenPath, readGoldenJson } from "../support/golden.ts";

/** What transformers did: a text, an exception of the template's own, or a fault of Jinja's. */
type Rendered = { readonly text: string } | { readonly raised: string } | { readonly failed: string };

/** Written by test/oracle/chat_templates.py. */
interface Conversations {
  readonly now: string;
  readonly tokens: Record<string, string>;
  readonly conversations: Record<string, { readonly messages: object[]; readonly tools: object[] | null }>;
}

const { now, tokens, conversations } = readGoldenJson<Conversations>("chat-templates", "conversations.json");
const rendered = readGoldenJson<Record<string, Record<string, { bare: Rendered; prompted: Rendered }>>>(
  "chat-templates",
  "rendered.json",
);
const names = readdirSync(goldenPath("chat-templates", "templates")).map((file) => file.replace(".jinja", ""));

function render(
  template: ChatTemplate,
  conversation: string,
  prompted: boolean,
): { text: string } | { raised: string } {
  const variables = { ...tokens, ...conversations[conversation], documents: null, add_generation_prompt: prompted };
  try {
    return { text: template.render(variables, new Date(now)) };
  } catch (error) {
    if (error instanceof ChatTemplateError) return { raised: error.message };
    throw error;
  }
}

it("are at least twenty, and all have goldens", () => {
  expect(names.length).toBeGreaterThanOrEqual(20);
  expect(names.sort()).toEqual(Object.keys(rendered).sort());
});

describe.each(names)("the template %s", (name) => {
  const template = new ChatTemplate(readFileSync(goldenPath("chat-templates", "templates", `${name}.jinja`), "utf8"));

  it.each(Object.keys(conversations))("renders as transformers does: %s", (conversation) => {
    const { bare, prompted } = rendered[name]![conversation]!;
    // Where Jinja itself fails in Python, as on members of what is undefined, the library may be milder.
    if (!("failed" in bare)) expect(render(template, conversation, false)).toEqual(bare);
    if (!("failed" in prompted)) expect(render(template, conversation, true)).toEqual(prompted);
  });
});

describe("Jinja as in Python", () => {
  const text = (source: string, variables = {}) => new ChatTemplate(source).render(variables);

  it.each<[string, string]>([
    [
      "{{ '' != false }} {{ '1' == 1 }} {{ 1 == true }} {{ none == undefined }} {{ [1, {'a': 2}] == [1, {'a': 2}] }}",
      "True False True False True",
    ],
    ["{{ {'a': 1} == {'a': 2} }} {{ [1] == [1, 2] }} {{ 1 == 1.0 }}", "False False True"],
    [
      "{{ 'xxabxx'.strip('x') }} {{ 'xxab'.lstrip('bx') }} {{ ' ab\\n'.rstrip('\\n') }}|{{ '😀a😀'.strip('😀') }}",
      "ab ab  ab|a",
    ],
    ["{{ [true, none, 1.5, 'a\\'b', 'c\"\\'', '\\n'] }}", `[True, None, 1.5, "a'b", 'c"\\'', '\\n']`],
    [
      "{{ {'a': [], 'b': {}} | string }} {{ none | string }} {{ 'a' ~ 1 ~ none ~ [2] }}",
      "{'a': [], 'b': {}} None a1None[2]",
    ],
    ["{% for c in 'a😀' %}{{ c }},{% endfor %}{{ 'a😀' | length }}", "a,😀,2"],
    [
      "{{ [{'a': 1}, {}] | selectattr('a', 'undefined') | list }}{{ [{'a': 1}, {}] | rejectattr('a', 'defined') | list }}",
      "[{}][{}]",
    ],
    ["{{ 'ab' | selectattr('x', 'equalto', 'y') | list }}{{ none | selectattr('x') | list }}", "[][]"],
    ["{{ {'a': 1}[missing] is defined }} {{ 'ab'[none] is defined }}", "False False"],
    ["{% for a, b in [(1, 2)] if a %}{{ a + b }}{% endfor %} {{ dict(a=1, b='x') }}", "3 {'a': 1, 'b': 'x'}"],
    ["a\r\nb\rc{% if true %}\r\nd{% endif %}", "a\nb\ncd"],
  ])("%s", (source, expected) => {
    expect(text(source)).toBe(expected);
  });

  it("has Python's white space", () => {
    expect(strip("\u001c\u0085\u3000\ufeff a\u2028", "strip", null)).toBe("\ufeff a");
    expect(text("{{ t | trim }}", { t: "\u00a0\u200b \u001f" })).toBe("\u200b");
  });

  it("escapes what cannot be printed", () => {
    expect(text("{{ [t] }}", { t: "\u0001\u200b\u{e0001}\\é" })).toBe("['\\x01\\u200b\\U000e0001\\\\é']");
  });
});
