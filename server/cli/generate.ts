import pino from "pino";
import type { Traffic } from "../../attention/types.ts";
import { type GenerateOptions, parseGenerateOptions } from "../config.ts";
import type { FinishReason } from "../engine/types.ts";
import { loadServing } from "../load-serving.ts";
import { usageOf } from "../requests.ts";
import { closeServing, type Serving } from "../serving.ts";
import type { CliIo } from "./io.ts";

/** Writes the text as it comes, or with --json one object at the end. */
export async function generate(given: Readonly<Record<string, unknown>>, io: CliIo): Promise<number> {
  const options = parseGenerateOptions(given);
  const log = pino({ level: "warn" }, { write: io.err });
  const attention = options.attention === "onnx" ? "onnx" : options.dense ? "dense" : (options.attention ?? "sparq");
  const serving = await loadServing({ ...options, attention, maxRunning: 1 }, log);
  try {
    const result = await run(serving, options, options.json ? () => {} : io.out, io.stop);
    io.out(options.json ? `${JSON.stringify(result)}\n` : "\n");
    return 0;
  } catch (error) {
    if (!io.stop.aborted) throw error;
    return 130;
  } finally {
    await closeServing(serving);
  }
}

async function run(serving: Serving, options: GenerateOptions, write: (text: string) => void, signal: AbortSignal) {
  const { tokenizer, engine, attention } = serving;
  const promptIds = options.chat
    ? tokenizer.applyChatTemplate([{ role: "user", content: options.prompt }], { addGenerationPrompt: true })
    : tokenizer.encode(options.prompt);
  const { maxTokens, temperature, seed } = options;
  const sampling = { maxTokens, temperature, topP: 1, topK: 0, stop: [], ignoreEos: false };
  const request = {
    id: "generate",
    promptIds,
    attention,
    sampling: seed === undefined ? sampling : { ...sampling, seed },
  };

  const started = performance.now();
  let firstToken = started;
  let prefill = engine.stats().traffic;
  let finishReason: FinishReason = "length";
  let tokens = 0;
  const texts: string[] = [];
  for await (const event of engine.generate(request, signal)) {
    if (tokens === 0) {
      firstToken = performance.now();
      prefill = engine.stats().traffic;
    }
    tokens += 1;
    texts.push(event.text);
    write(event.text);
    finishReason = event.finishReason ?? finishReason;
  }
  const decodeSeconds = (performance.now() - firstToken) / 1000;
  const traffic = difference(engine.stats().traffic, prefill);
  return {
    model: serving.name,
    text: texts.join(""),
    finish_reason: finishReason,
    usage: usageOf({ prompt: promptIds.length, cached: 0, completion: tokens }),
    seconds_to_first_token: (firstToken - started) / 1000,
    /** Of the tokens after the first. */
    tokens_per_second: tokens > 1 ? (tokens - 1) / decodeSeconds : null,
    attention: serving.backend === "onnx" ? { mode: "onnx" } : attention,
    /**
     * Bytes that attention read from the cache for the tokens after the first; the prompt itself attends densely. Zeros where
     * only the model's own graph knows.
     */
    traffic,
    traffic_ratio: ratioToDense(traffic),
  };
}

function difference(after: Traffic, before: Traffic): Traffic {
  return {
    scoreBytes: after.scoreBytes - before.scoreBytes,
    gatherBytes: after.gatherBytes - before.gatherBytes,
    denseBytes: after.denseBytes - before.denseBytes,
    denseEquivalentBytes: after.denseEquivalentBytes - before.denseEquivalentBytes,
  };
}

/** What was read in proportion to dense attention; null if nothing was. */
function ratioToDense({ scoreBytes, gatherBytes, denseBytes, denseEquivalentBytes }: Traffic): number | null {
  return denseEquivalentBytes === 0 ? null : (scoreBytes + gatherBytes + denseBytes) / denseEquivalentBytes;
}
