import { readFileSync } from "node:fs";
import type { Random } from "../soak/random.ts";
import type { Prompt, PromptSource } from "./prompts.ts";

/** Prompts of a file, in an order that the seed decides, each once. */
export class FilePrompts implements PromptSource {
  private readonly path: string;
  private readonly prompts: readonly Prompt[];
  private used = 0;

  /** `outputTokens` is for entries that do not say. Throws Error, naming file and entry, for what is no prompt. */
  constructor(path: string, outputTokens: number, random: Random) {
    this.path = path;
    this.prompts = random.shuffle(
      entriesOf(path).map((entry, i) => promptOf(entry, outputTokens, `${path}, ${i + 1}`)),
    );
  }

  take(n: number): readonly Prompt[] {
    const from = this.used;
    this.used += n;
    if (this.used <= this.prompts.length) return this.prompts.slice(from, this.used);
    throw new Error(
      `${this.path} has ${this.prompts.length} prompts, and ${this.used} are needed: each is sent once, since a repeated one is cached`,
    );
  }
}

/** JSON lines, or a JSON array, which is what ShareGPT comes as. */
function entriesOf(path: string): readonly unknown[] {
  const text = readFileSync(path, "utf8").trim();
  try {
    if (text.startsWith("[")) return JSON.parse(text) as unknown[];
    return text.split("\n").flatMap((line) => (line.trim() === "" ? [] : [JSON.parse(line) as unknown]));
  } catch (error) {
    throw new Error(`${path} is neither JSON lines nor a JSON array: ${(error as Error).message}`);
  }
}

/** `{"prompt": "...", "output_tokens": 64}`, or a ShareGPT conversation, of which what comes first from a human is the prompt. */
function promptOf(entry: unknown, outputTokens: number, where: string): Prompt {
  const { prompt, output_tokens, conversations } = (entry ?? {}) as Record<string, unknown>;
  const turns = Array.isArray(conversations) ? (conversations as { from?: unknown; value?: unknown }[]) : [];
  const text = prompt ?? turns.find((turn) => turn?.from === "human" || turn?.from === "user")?.value;
  if (typeof text !== "string" || text === "") {
    throw new Error(`${where}: needs "prompt", or "conversations" with a turn from "human"`);
  }
  const length = output_tokens ?? outputTokens;
  if (!Number.isSafeInteger(length) || (length as number) < 1) {
    throw new Error(`${where}: output_tokens must be a whole number from 1, not ${JSON.stringify(output_tokens)}`);
  }
  return { text, outputTokens: length as number };
}
