import type { AttentionSettings, StepSequence } from "../../attention/types.ts";
import { createEngine, type EngineOptions, type StepRunner } from "../../server/engine/engine.ts";
import type { Engine, EventLogprobs, GenerateRequest, SamplingParams, TokenEvent } from "../../server/engine/types.ts";
import { FakeRunner, type FakeRunnerOptions, generateAlone, sampleRows, scoreAlone } from "./fake-model.ts";
import { TableTokenizer } from "./table-tokenizer.ts";

export const BLOCK = 4;
export const EOS = 1;
export const SPECIAL = 2;
// Letters, a replacement character, and two halves of an emoji.
export const tokenizer = new TableTokenizer(
  ["a", "</s>", "<|call|>", "b", " ", "é", "ab", "\ufffd", Uint8Array.of(0xf0, 0x9f), Uint8Array.of(0x99, 0x82)],
  { eos: [EOS], special: [SPECIAL] },
);
export const vocabSize = tokenizer.vocabSize;
export const maxPositions = 64;

export const sparq: AttentionSettings = { mode: "sparq", r: 8, k: 16, local: 4, meanValue: true, groupSum: "softmax" };
export const dense: AttentionSettings = { ...sparq, mode: "dense" };

export const greedy: SamplingParams = { maxTokens: 8, temperature: 0, topP: 1, topK: 0, stop: [], ignoreEos: true };

export function requestOf(id: string, promptIds: number[], sampling: Partial<SamplingParams> = {}): GenerateRequest {
  return { id, promptIds, sampling: { ...greedy, ...sampling }, attention: sparq };
}

interface SetUp extends Partial<Omit<EngineOptions, "cache">> {
  readonly blocks?: number;
  readonly prefixCaching?: boolean;
  readonly beforeStep?: FakeRunnerOptions["beforeStep"];
  readonly habit?: number;
  /** Rows may stop between so many layers; time is then what steps of the fake model take. */
  readonly layers?: number | null;
}

export function setUp({ blocks = 64, prefixCaching = true, habit = 0, layers, beforeStep, ...options }: SetUp = {}) {
  const runner = new FakeRunner({
    vocabSize,
    blocks,
    blockSize: BLOCK,
    habit,
    ...(layers && { layers }),
    ...(beforeStep && { beforeStep }),
  });
  const engine = createEngine({
    runner,
    config: { vocabSize, maxPositions, eosTokenIds: [] },
    tokenizer,
    cache: { blocks, blockSize: BLOCK, prefixCaching },
    checked: true,
    ...(layers && { now: () => runner.seconds }),
    ...options,
  });
  return { runner, engine };
}

export async function collect(engine: Engine, request: GenerateRequest, signal?: AbortSignal) {
  const events: TokenEvent[] = [];
  const generation = engine.generate(request, signal);
  for (;;) {
    const { done, value } = await generation.next();
    if (done) return { events, summary: value };
    events.push(value);
  }
}

export const idsOf = (events: readonly TokenEvent[]) => events.map(({ tokenId }) => tokenId);
export const textOf = (events: readonly TokenEvent[]) => events.map(({ text }) => text).join("");
export const alone = (request: GenerateRequest, habit = 0) => generateAlone(request, vocabSize, maxPositions, habit);

/** A request with its prompt's log-probabilities, as they come: each answer is one. */
export function scoring(request: GenerateRequest, top = 1, habit = 0) {
  const answers: (readonly EventLogprobs[])[] = [];
  const promptLogprobs = { top, onReady: (logprobs: readonly EventLogprobs[]) => void answers.push(logprobs) };
  return { request: { ...request, promptLogprobs }, answers, expected: scoreAlone(request, vocabSize, top, habit) };
}

/** A runner without a store: `rowOf` gives the logits of a sequence's row. */
export function simpleRunner(rowOf: (sequence: StepSequence, row: number) => Float32Array): StepRunner {
  return {
    step: async (sequences) => ({
      sampled: sequences.map((sequence) => {
        const { tokenIds, sampling = [] } = sequence;
        const first = tokenIds.length - sampling.length;
        return sampleRows(
          sequence,
          sampling.map((_, i) => rowOf(sequence, first + i)),
        );
      }),
      traffic: { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 },
    }),
    copyBlock: () => {},
    close: () => {},
  };
}

/** An engine whose requests all get these tokens. */
export function scriptedEngine(script: readonly number[], options: SetUp = {}): Engine {
  const runner = simpleRunner(({ contextLength, denseUntil }, row) => {
    const logits = new Float32Array(vocabSize);
    logits[script[contextLength + row + 1 - denseUntil]!] = 9;
    return logits;
  });
  return setUp({ runner, ...options }).engine;
}
