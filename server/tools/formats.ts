/** How a family of models writes tool calls. */
export interface ToolFormat {
  readonly name: ToolFormatName;
  /** What begins a call, or a list of calls, in text; of several, any. */
  readonly begins: readonly string[];
  /** Whether a text that begins with a call has no need of such a mark. */
  readonly bare: boolean;
  /** What may come between the mark and a call, between calls, and after the last: passed over. */
  readonly between: RegExp;
  /** What may come after the last call, whole. */
  readonly ends: readonly string[];
  /** What the model says the arguments are. */
  readonly argumentsKey: "arguments" | "parameters";
  /** What a forced call's text begins with, as part of the prompt, and what follows it. */
  readonly forced: {
    readonly prompt: string;
    readonly open: string;
    readonly separator: string;
    readonly close: string;
  };
}

export const toolFormatNames = ["hermes", "llama3_json", "mistral"] as const;
export type ToolFormatName = (typeof toolFormatNames)[number];

export const toolFormats: Readonly<Record<ToolFormatName, ToolFormat>> = {
  // Nous Hermes 2 Pro and Qwen 2.5: <tool_call>{"name": ..., "arguments": {...}}</tool_call>, again and again.
  hermes: {
    name: "hermes",
    begins: ["<tool_call>"],
    bare: false,
    between: /\s/,
    ends: ["</tool_call>"],
    argumentsKey: "arguments",
    forced: { prompt: "<tool_call>\n", open: "", separator: "\n</tool_call>\n<tool_call>\n", close: "\n</tool_call>" },
  },
  // Llama 3.1 to 3.3: {"name": ..., "parameters": {...}}, with or without <|python_tag|>, several divided by semicolons.
  llama3_json: {
    name: "llama3_json",
    begins: ["<|python_tag|>"],
    bare: true,
    between: /[\s;,]/,
    ends: [],
    argumentsKey: "parameters",
    forced: { prompt: "", open: "", separator: "; ", close: "" },
  },
  // Mistral: [TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...]
  mistral: {
    name: "mistral",
    begins: ["[TOOL_CALLS]"],
    bare: false,
    between: /[\s,[\]]/,
    ends: [],
    argumentsKey: "arguments",
    forced: { prompt: "[TOOL_CALLS]", open: "[", separator: ", ", close: "]" },
  },
};

/** The format that a chat template describes, if it is one of those; a template that knows no tools has none. */
export function detectToolFormat(template: string): ToolFormatName | undefined {
  if (!knowsTools(template)) return undefined;
  if (template.includes("<tool_call>")) return "hermes";
  if (template.includes("[TOOL_CALLS]")) return "mistral";
  if (template.includes("<|python_tag|>") || /\bparameters\b[\s\S]*\bipython\b|\bipython\b/.test(template)) {
    return "llama3_json";
  }
  return undefined;
}

/** Whether a chat template does anything with tools. */
export function knowsTools(template: string): boolean {
  return /\btools\b/.test(template);
}
