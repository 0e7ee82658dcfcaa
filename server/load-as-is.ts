import type { Logger } from "pino";
import { openDecoder } from "../attention/onnx/session.ts";
import { BLOCK_SIZE } from "../attention/session.ts";
import type { AttentionSettings } from "../attention/types.ts";
import { locateAsIs } from "../models/as-is.ts";
import type { ModelOptions } from "./config.ts";
import type { LoadedModel } from "./load-serving.ts";
import { servedCache } from "./resources.ts";
import type { Stopwatch } from "./stopwatch.ts";
import { createTokenizer } from "./tokenizer.ts";

/** What sequences have where settings mean nothing. */
const dense: AttentionSettings = { mode: "dense", r: 1, k: 1, local: 0, meanValue: false, groupSum: "softmax" };

/**
 * An ONNX model that ONNX Runtime runs as it is. Throws ModelError for one that is none, or that does not take and give what
 * decoders do, and Error for a cache that is too small.
 */
export async function loadAsIs(options: ModelOptions, log: Logger, watch: Stopwatch): Promise<LoadedModel> {
  const { name, source, config, tokenizer: files } = locateAsIs(options.model, { maxContext: options.maxContext });
  const tokenizer = createTokenizer(files, config);
  watch.lap("tokenizer");
  const decoder = await openDecoder(source, { ...config, certain: config.known }, { threads: options.threads });
  try {
    const { slots, vocabSize } = decoder.signature;
    const { blocks, contextLength } = servedCache(decoder.bytesPerBlock(BLOCK_SIZE), config.maxPositions, options);
    const session = await decoder.begin({ blocks, blockSize: BLOCK_SIZE });
    watch.lap("session");
    if (slots.length === 0) {
      log.warn(
        { model: name },
        "the model has no past_key_values: every token runs the whole text again, which is slow",
      );
    }
    return {
      name,
      source,
      config: { ...config, vocabSize },
      files,
      tokenizer,
      session,
      contextLength,
      headDim: slots[0]?.width ?? 0,
      attention: dense,
      backend: "onnx",
      broken: () => decoder.broken(),
    };
  } catch (error) {
    decoder.close();
    throw error;
  }
}
