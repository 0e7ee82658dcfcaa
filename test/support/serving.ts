import { readFileSync } from "node:fs";
import pino, { type Logger } from "pino";
import type { TokenizerFiles } from "../../models/types.ts";
import { parseServerOptions } from "../../server/config.ts";
import type { Engine } from "../../server/engine/types.ts";
import { GrammarService } from "../../server/grammar/service.ts";
import { grammarVocabulary } from "../../server/grammar/vocabulary.ts";
import { localEncoder } from "../../server/prompts/encoder.ts";
import type { Serving } from "../../server/serving.ts";
import { type StartedServer, startServer } from "../../server/start.ts";
import { createTokenizer } from "../../server/tokenizer.ts";

const golden = JSON.parse(readFileSync(new URL("../golden/tokenizer/byte-level.json", import.meta.url), "utf8"));

/** The small ChatML tokenizer of the goldens. */
export const testTokenizerFiles: TokenizerFiles = {
  tokenizerJson: golden.tokenizerJson,
  tokenizerConfig: golden.tokenizerConfig,
  chatTemplate: golden.tokenizerConfig.chat_template,
};
export const testTokenizer = createTokenizer(testTokenizerFiles);

export const silentLog = pino({ level: "silent" });

/** Something to serve around an engine. */
export function servingOf(engine: Engine, changes: Partial<Serving> = {}): Serving {
  const { tokenizer = testTokenizer } = changes;
  return {
    name: "test-model",
    root: "test/source",
    created: 1_700_000_000,
    tokenizer,
    prompts: localEncoder(tokenizer),
    engine,
    grammars: new GrammarService({ vocabulary: () => grammarVocabulary(tokenizer, tokenizer.vocabSize) }),
    contextLength: 128,
    headDim: 32,
    backend: "kernels",
    attention: { mode: "sparq", r: 8, k: 64, local: 16, meanValue: false, groupSum: "softmax" },
    ...changes,
  };
}

/** A server on a free port that serves `serving` as soon as that is there. */
export async function serve(
  serving: Serving | Promise<Serving>,
  options: Readonly<Record<string, unknown>> = {},
  log: Logger = silentLog,
): Promise<StartedServer> {
  const parsed = parseServerOptions({ port: 0, graceSeconds: 0, ...options });
  return startServer(parsed, { load: async () => serving, log });
}
