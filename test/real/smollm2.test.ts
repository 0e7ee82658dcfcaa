import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { defaultAttention } from "../../attention/defaults.ts";
import { openSession, type Session } from "../../attention/session.ts";
import type { AttentionSettings, LayerRange } from "../../attention/types.ts";
import { loadModel } from "../../models/load.ts";
import type { PreparedModel } from "../../models/types.ts";
import { createEngine, type StepRunner } from "../../server/engine/engine.ts";
import type { ChatMessage, Engine, TokenEvent, Tokenizer } from "../../server/engine/types.ts";
import { createTokenizer } from "../../server/tokenizer.ts";
import { maxDifference, readGoldenJson } from "../support/golden.ts";
import { DENSE, SequenceRunner } from "../support/sequence-runner.ts";
import { locateSmolLm2 } from "../support/smollm2.ts";

interface TextGolden {
  readonly texts: readonly { readonly text: string; readonly ids: readonly number[] }[];
}

interface ChatGolden {
  readonly prompts: readonly { readonly name: string; readonly ids: readonly number[] }[];
  readonly greedy: readonly { readonly messages: readonly ChatMessage[]; readonly prompt: readonly number[] }[];
}

const located = locateSmolLm2();
const { texts } = readGoldenJson<TextGolden>("smollm2", "tokenizer.json");
const golden = readGoldenJson<ChatGolden>("smollm2", "index.json");
/** 1100 tokens of prose. */
const prose = golden.prompts.find(({ name }) => name === "long")!.ids;

const BLOCKS = 128;
/** Sixteen requests at once. */
const QUESTIONS = [
  "What is the capital of France?",
  "Name three colours.",
  "How many legs does a spider have?",
  "What is 2 + 2?",
  "Write a haiku about rain.",
  "Who wrote Hamlet?",
  "Is the sun a star?",
  "Translate 'good morning' to Spanish.",
  "What do bees make?",
  "Give me a word that rhymes with cat.",
  "What is the largest ocean?",
  "Why is the sky blue?",
  "List two fruits.",
  "What is water made of?",
  "Say hello in French.",
  "What comes after Monday?",
];

/** Bytes of memory that belong to this process alone, mapped files left out. */
function ownMemory(): number {
  return 1024 * Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))![1]);
}

describe("SmolLM2-135M-Instruct", () => {
  let model: PreparedModel;
  let tokenizer: Tokenizer;
  let session: Session;
  let engine: Engine;
  let requests = 0;

  beforeAll(async () => {
    if ("missing" in located) return;
    model = await loadModel(located.path, { linears: "qlinear", activations: "int8x2" });
    tokenizer = createTokenizer(model.tokenizer, model.config);
    const open = () =>
      openSession({ graphPath: model.graphPath, config: model.config, blocks: BLOCKS, spinning: false });
    session = await open();
    const cache = { blocks: BLOCKS, blockSize: session.blockSize };
    engine = createEngine({ runner: await open(), config: model.config, tokenizer, cache, checked: true });
  });
  beforeEach((context) => {
    if ("missing" in located) context.skip(located.missing);
  });
  afterAll(async () => {
    session?.close();
    await engine?.close();
  });

  const chatIds = (content: string) =>
    tokenizer.applyChatTemplate([{ role: "user", content }], { addGenerationPrompt: true });

  /** Greedy continuation: token ids and text. */
  async function generate(promptIds: readonly number[], attention: AttentionSettings, maxTokens: number) {
    const sampling = { maxTokens, temperature: 0, topP: 1, topK: 0, stop: [], ignoreEos: false };
    requests += 1;
    const ids: number[] = [];
    let text = "";
    for await (const event of engine.generate({ id: `request-${requests}`, promptIds, sampling, attention })) {
      ids.push(event.tokenId);
      text += event.text;
    }
    return { ids, text };
  }

  /** An engine of its own, and the layers that rows of its steps went through where these were not all. */
  async function layeredEngine() {
    const runner = await openSession({
      graphPath: model.graphPath,
      config: model.config,
      blocks: BLOCKS,
      spinning: false,
    });
    const ranges: LayerRange[] = [];
    const step: StepRunner["step"] = (sequences) => {
      ranges.push(...sequences.flatMap(({ layers = [] }) => layers));
      return runner.step(sequences);
    };
    const cache = { blocks: BLOCKS, blockSize: runner.blockSize };
    const { layers } = runner;
    const watched = { step, copyBlock: runner.copyBlock.bind(runner), close: () => runner.close(), layers };
    return { ranges, engine: createEngine({ runner: watched, config: model.config, tokenizer, cache, checked: true }) };
  }

  async function idsOf(generation: AsyncIterable<TokenEvent>): Promise<number[]> {
    const ids: number[] = [];
    for await (const { tokenId } of generation) ids.push(tokenId);
    return ids;
  }

  it("is read as what it is", () => {
    expect(model.config).toMatchObject({
      layers: 30,
      hiddenSize: 576,
      heads: 9,
      kvHeads: 3,
      headDim: 64,
      tiedHead: true,
    });
    expect(model.config).toMatchObject({ vocabSize: 49_152, maxPositions: 8192, bosTokenId: 1, eosTokenIds: [2] });
    expect(model.report).toMatchObject({
      parameters: 134_515_008,
      weights: "Q4_1 and Q8_0 by qlinear; activations int8x2",
    });
    expect(model.report.attentions).toHaveLength(30);
  });

  it.skipIf(process.platform !== "linux")("reads its weights where the file is mapped, without a copy", async () => {
    const before = ownMemory();
    const other = await openSession({ graphPath: model.graphPath, config: model.config, blocks: 1, spinning: false });
    try {
      await new SequenceRunner(other).run(prose.slice(0, 8));
      expect(model.report.weightBytes).toBeGreaterThan(90e6);
      expect(ownMemory() - before).toBeLessThan(model.report.weightBytes / 2);
      expect(readFileSync("/proc/self/maps", "utf8")).toContain(join(dirname(model.graphPath), "weights.bin"));
    } finally {
      other.close();
    }
  });

  it("tokenises as the model's tokenizer.json does", () => {
    for (const { text, ids } of texts) {
      const encoded = tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: true });
      expect(encoded, JSON.stringify(text.slice(0, 80))).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(text);
    }
  });

  it("writes chats as transformers does", () => {
    for (const { messages, prompt } of golden.greedy) {
      expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })).toEqual(prompt);
    }
  });

  it.each([
    ["dense", DENSE],
    ["SparQ, with less than the prompt in view", { ...DENSE, mode: "sparq", r: 16, k: 24, local: 8 }],
  ] as [string, AttentionSettings][])("answers a question: %s", async (_, attention) => {
    const before = engine.stats().traffic;
    const { text } = await generate(chatIds(QUESTIONS[0]!), attention, 40);
    expect(text).toContain("Paris");
    expect(engine.stats().traffic.scoreBytes > before.scoreBytes).toBe(attention.mode === "sparq");
  });

  it("answers after a long text, with the settings for speed, at part of the traffic", async () => {
    const question = `${tokenizer.decode(prose)}\n\nNow forget this text. ${QUESTIONS[0]}`;
    const promptIds = chatIds(question);
    const before = engine.stats().traffic;
    const { ids, text } = await generate(promptIds, defaultAttention(model.config, "speed"), 40);
    expect(text).toContain("Paris");
    const after = engine.stats().traffic;
    const read = (kind: "scoreBytes" | "gatherBytes" | "denseBytes" | "denseEquivalentBytes") =>
      after[kind] - before[kind];
    // The prompt is dense, and reads as much as it would densely; what is left over are the generated tokens.
    const decoded = read("denseEquivalentBytes") - read("denseBytes");
    expect(ids.length).toBeGreaterThan(1);
    expect(read("scoreBytes") + read("gatherBytes")).toBeGreaterThan(0);
    expect(read("scoreBytes") + read("gatherBytes")).toBeLessThan(decoded / 2);
  });

  it("gives bitwise the same logits for a decode after a prefill as for one long prefill", async () => {
    const runner = new SequenceRunner(session);
    const ids = prose.slice(0, 230);
    const whole = await runner.restart().run(ids);
    const cut = await runner.restart().runChunks(ids, [150, 37, 1]);
    expect(maxDifference(cut, whole)).toBe(0);
  });

  it("gives the same tokens to a stream and to a long prompt that goes a few layers at a time beside it", async () => {
    const attention = defaultAttention(model.config);
    const { engine: layered, ranges } = await layeredEngine();
    // Its own beginning, so that neither prompt is in the other engine's cache.
    const long = [...chatIds("Continue."), ...prose];
    const question = chatIds(QUESTIONS[10]!);
    const sampling = { maxTokens: 400, temperature: 0, topP: 1, topK: 0, stop: [], ignoreEos: true };
    const stream: number[] = [];
    let answer: Promise<number[]> | undefined;
    for await (const { tokenId } of layered.generate({ id: "stream", promptIds: question, sampling, attention })) {
      stream.push(tokenId);
      if (stream.length === 3) {
        const request = { id: "long", promptIds: long, sampling: { ...sampling, maxTokens: 8 }, attention };
        answer = idsOf(layered.generate(request));
      }
    }
    expect(ranges.filter(({ begin, end }) => begin > 0 && end <= 30).length).toBeGreaterThan(20);
    const alone = await idsOf(engine.generate({ id: "alone", promptIds: question, sampling, attention }));
    expect(stream).toEqual(alone);
    const longAlone = { id: "long", promptIds: long, sampling: { ...sampling, maxTokens: 8 }, attention };
    expect(await answer).toEqual(await idsOf(engine.generate(longAlone)));
    await layered.close();
  });

  it.each([
    ["dense", DENSE],
    ["SparQ", { ...DENSE, mode: "sparq", r: 16, k: 24, local: 8 }],
  ] as [string, AttentionSettings][])("gives the same tokens alone as among sixteen: %s", async (_, attention) => {
    const together = await Promise.all(QUESTIONS.map((question) => generate(chatIds(question), attention, 32)));
    for (const [i, question] of QUESTIONS.entries()) {
      expect((await generate(chatIds(question), attention, 32)).ids, question).toEqual(together[i]!.ids);
    }
  });
});
