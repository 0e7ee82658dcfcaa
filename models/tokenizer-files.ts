import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "./errors.ts";
import { readJsonFile } from "./json.ts";
import type { TokenizerFiles } from "./types.ts";

/**
 * The tokenizer of a Hugging Face model folder: tokenizer.json (required), tokenizer_config.json and the chat template,
 * which is in chat_template.jinja or in tokenizer_config.json.
 */
export function readTokenizerFiles(folder: string): TokenizerFiles {
  const tokenizerPath = join(folder, "tokenizer.json");
  if (!existsSync(tokenizerPath)) {
    throw new ModelError(
      "file_missing",
      `${folder} has no tokenizer.json (slow tokenizers must be converted: AutoTokenizer.from_pretrained(...).save_pretrained(...))`,
    );
  }
  const configPath = join(folder, "tokenizer_config.json");
  const tokenizerConfig = existsSync(configPath) ? readJsonFile(configPath) : {};
  const templatePath = join(folder, "chat_template.jinja");
  const chatTemplate = existsSync(templatePath)
    ? readFileSync(templatePath, "utf8")
    : templateIn(tokenizerConfig.chat_template, configPath);
  return {
    tokenizerJson: readJsonFile(tokenizerPath),
    tokenizerConfig,
    ...(chatTemplate === undefined ? {} : { chatTemplate }),
  };
}

/** A template, or a list of named ones of which "default" is meant. */
function templateIn(value: unknown, source: string): string | undefined {
  if (value === undefined || value === null || typeof value === "string") return value ?? undefined;
  if (Array.isArray(value)) {
    const named = value.find((entry) => entry?.name === "default") ?? value[0];
    if (typeof named?.template === "string") return named.template;
  }
  throw new ModelError("file_invalid", `${source}: chat_template must be a string or a list of {name, template}`);
}
