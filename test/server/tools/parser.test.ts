import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ToolFormatName, toolFormats } from "../../../server/tools/formats.ts";
import { type ToolEvent, ToolParser, type ToolParserOptions } from "../../../server/tools/parser.ts";

const names = new Set(["add", "get_weather"]);

interface Parsed {
  readonly content: string;
  readonly calls: readonly { readonly name: string; readonly arguments: string }[];
}

function collect(events: readonly ToolEvent[]): Parsed {
  let content = "";
  const calls: { name: string; arguments: string }[] = [];
  for (const event of events) {
    if (event.kind === "content") content += event.text;
    else if (event.kind === "call") calls.push({ name: event.name, arguments: "" });
    else calls.at(-1)!.arguments += event.text;
  }
  return { content, calls };
}

function parse(pieces: readonly string[], name: ToolFormatName, options: Partial<ToolParserOptions> = {}): Parsed {
  const parser = new ToolParser({ format: toolFormats[name], names, ...options });
  return collect([...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()]);
}

const call = (name: string, text: string) => ({ name, arguments: text });
const weather = '{"city": "S\\u00e3o \\"Paulo\\" }]", "n": [1, {"x": "</tool_call>"}]}';

/** Text, content, calls. */
const cases: Record<ToolFormatName, [string, string, { name: string; arguments: string }[]][]> = {
  hermes: [
    ["Hello.", "Hello.", []],
    ["  \n", "  \n", []],
    ["a < b <tool_cal", "a < b <tool_cal", []],
    ['<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>', "", [call("add", '{"a": 1}')]],
    [
      `Look:\n<tool_call>{"name":"get_weather","arguments":${weather}}</tool_call>\n`,
      "Look:",
      [call("get_weather", weather)],
    ],
    [
      '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>\n<tool_call>\n{"arguments": {"b":2}, "name": "add"}\n</tool_call> Done. ',
      "Done.",
      [call("add", "{}"), call("add", '{"b":2}')],
    ],
    ['<tool_call>{"name": "unknown"}</tool_call>', "", [call("unknown", "{}")]],
    [
      '<tool_call>{"name": "add", "id": {"name": "x"}, "arguments": "{\\"a\\": 1}"}</tool_call>',
      "",
      [call("add", '{"a": 1}')],
    ],
    ["<tool_call>sorry</tool_call> then", "<tool_call>sorry</tool_call> then", []],
    ["<tool_call>", "<tool_call>", []],
    ['<tool_call>{"nam', '<tool_call>{"nam', []],
    ['<tool_call>{"name": 3, "x" 1}', '<tool_call>{"name": 3, "x" 1}', []],
    ['<tool_call>{"name": "add", "arguments": {"a": 1', "", [call("add", '{"a": 1')]],
    ['{"name": "add", "arguments": {}}', '{"name": "add", "arguments": {}}', []],
  ],
  llama3_json: [
    ["Hello {there}.", "Hello {there}.", []],
    ['{"name": "add", "parameters": {"a": 1}}', "", [call("add", '{"a": 1}')]],
    ['\n {"parameters": {"a": 1}, "name": "add"} ', "", [call("add", '{"a": 1}')]],
    ['<|python_tag|>{"name": "other", "parameters": {}}', "", [call("other", "{}")]],
    [
      '{"name": "add", "parameters": {}}; {"name": "add", "parameters": {"b": 2}}',
      "",
      [call("add", "{}"), call("add", '{"b": 2}')],
    ],
    ['{"name": "Ann", "age": 3}', '{"name": "Ann", "age": 3}', []],
    ['{"a": {"name": "add"}} and more', '{"a": {"name": "add"}} and more', []],
    ["{not json", "{not json", []],
    ["{", "{", []],
    ['<|python_tag|>search.call(query="x")', '<|python_tag|>search.call(query="x")', []],
  ],
  mistral: [
    ["Hello [you].", "Hello [you].", []],
    ['[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}]', "", [call("add", '{"a": 1}')]],
    [
      `Hm. [TOOL_CALLS][{"name": "add", "arguments": {"a": [1]}}, {"name": "get_weather", "arguments": ${weather}}]`,
      "Hm.",
      [call("add", '{"a": [1]}'), call("get_weather", weather)],
    ],
    ["[TOOL_CALLS] nothing", "[TOOL_CALLS] nothing", []],
  ],
};

const all = Object.entries(cases).flatMap(([format, list]) =>
  list.map((one) => [format as ToolFormatName, ...one] as const),
);

describe("tool calls in text", () => {
  test.each(all)("%s: %s", (format, text, content, calls) => {
    expect(parse([text], format)).toEqual({ content, calls });
  });

  test.each(all)("%s, cut anywhere: %s", (format, text, content, calls) => {
    for (let cut = 0; cut <= text.length; cut++) {
      expect([cut, parse([text.slice(0, cut), text.slice(cut)], format)]).toEqual([cut, { content, calls }]);
    }
    expect(
      parse(
        [...text].flatMap((letter) => ["", letter]),
        format,
      ),
    ).toEqual({ content, calls });
  });

  test("any text cut in any way gives the same", () => {
    const marks = [
      "<tool_call>",
      "</tool_call>",
      "[TOOL_CALLS]",
      "<|python_tag|>",
      '{"name": "add"',
      ', "arguments": {',
      "}",
      "; ",
    ];
    const text = fc.array(
      fc.oneof(fc.constantFrom(...marks, ...marks.map((mark) => mark.slice(0, 4))), fc.string({ maxLength: 3 })),
      {
        maxLength: 12,
      },
    );
    fc.assert(
      fc.property(
        fc.constantFrom("hermes", "llama3_json", "mistral"),
        text,
        fc.array(fc.nat(60), { maxLength: 6 }),
        (format, parts, cuts) => {
          const whole = parts.join("");
          const at = [0, ...cuts.map((cut) => Math.min(cut, whole.length)).sort((a, b) => a - b), whole.length];
          const pieces = at.slice(1).map((end, i) => whole.slice(at[i], end));
          expect(parse(pieces, format)).toEqual(parse([whole], format));
        },
      ),
      { seed: 2, numRuns: 3000 },
    );
  });

  test("tell a call as soon as its name is known, and its arguments as they come", () => {
    const parser = new ToolParser({ format: toolFormats.hermes, names });
    expect(parser.push('Hi <tool_call>{"name": "add"')).toEqual([
      { kind: "content", text: "Hi" },
      { kind: "call", name: "add" },
    ]);
    expect(parser.push(', "arguments": {"a"')).toEqual([{ kind: "arguments", text: '{"a"' }]);
    expect(parser.push(": 1}}")).toEqual([{ kind: "arguments", text: ": 1}" }]);
    expect([...parser.push("</tool_call>"), ...parser.end()]).toEqual([]);
  });

  test("are no more than asked for", () => {
    const [text] = cases.llama3_json[4]!;
    expect(parse([text], "llama3_json", { mostCalls: 1 })).toEqual({ content: "", calls: [call("add", "{}")] });
  });

  test("begin at once where the prompt has the mark", () => {
    expect(parse(['{"name": "add", "arguments": {}}\n</tool_call>'], "hermes", { begun: true }).calls).toEqual([
      call("add", "{}"),
    ]);
    expect(parse(['[{"name": "add", "arguments": {}}]'], "mistral", { begun: true }).calls).toEqual([
      call("add", "{}"),
    ]);
  });
});
