/** Sessions for evaluation: other ranks, what rows keep, faults on purpose. What ranks compute is test/contract's. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { packStep } from "../../attention/pack.ts";
import { type OpenSessionOptions, openSession, type Session } from "../../attention/session.ts";
import { type AttentionSettings, kernelFaults, type Rank, ranks, type StepSequence } from "../../attention/types.ts";
import { seeded } from "../contract/attention-fixture.ts";
import { graphFolder } from "./graph-files.ts";
import { decoderModel, makeDecoder, ReferenceDecoder, tinyShape } from "./tiny-decoder.ts";

const decoder = makeDecoder();
const graphPath = graphFolder().write("tiny.onnx", decoderModel(decoder));
const random = seeded(6);
const tokens = Array.from({ length: 120 }, () => Math.floor(random() * tinyShape.vocabSize));
const prompt = 90;

function open(options: Partial<OpenSessionOptions> = {}): Promise<Session> {
  return openSession({ graphPath, config: tinyShape, blocks: 4, blockSize: 64, threads: 2, ...options });
}

const settingsOf = (rank: Rank): AttentionSettings => ({
  mode: "sparq",
  r: 8,
  k: 24,
  local: 12,
  meanValue: false,
  groupSum: "softmax",
  rank,
  sinks: 2,
});

/** The prompt in two chunks, then the rest row by row. */
function stepsOf(attention: AttentionSettings): StepSequence[] {
  const row = (contextLength: number, rows: number): StepSequence => ({
    tokenIds: tokens.slice(contextLength, contextLength + rows),
    contextLength,
    blockTable: [2, 1],
    attention,
    denseUntil: prompt,
    logits: "last",
  });
  return [row(0, 70), row(70, 20), ...tokens.slice(prompt).map((_, i) => row(prompt + i, 1))];
}

async function run(session: Session, attention: AttentionSettings): Promise<Float32Array[]> {
  const logits: Float32Array[] = [];
  for (const sequence of stepsOf(attention)) logits.push((await session.step([sequence])).logits[0]!.slice());
  return logits;
}

const furthest = (a: readonly Float32Array[], b: readonly Float32Array[]) =>
  Math.max(...a.flatMap((row, i) => [...row].map((x, j) => Math.abs(x - b[i]![j]!))));

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

describe("a session that tracks and observes", () => {
  it.each(ranks)("runs rank %s as the reference does, and sums up what rows keep", async (rank) => {
    const session = await open({ trackMass: true, observe: true });
    const reference = new ReferenceDecoder(decoder, 4, true);
    const logits = await run(session, settingsOf(rank));
    const expected = stepsOf(settingsOf(rank)).map((sequence) => reference.step(packStep([sequence]).input));
    expect(
      furthest(
        logits,
        expected.map((step) => step.logits),
      ),
    ).toBeLessThan(2e-4);
    const observed = session.observed();
    expect(observed).toHaveLength(tinyShape.layers);
    for (const [layer, sums] of observed.entries()) {
      const of = (field: keyof typeof sums) =>
        expected.reduce((total, step) => total + step.observed[layer]![field], 0);
      expect(sums.rows).toBeCloseTo(30, 9);
      expect(sums.massKept).toBeCloseTo(of("massKept"), 3);
      expect(sums.alpha).toBeCloseTo(of("alpha"), 3);
      expect(Math.abs(sums.recall - of("recall"))).toBeLessThan(0.2);
    }
    session.resetObserved();
    expect(session.observed()[0]).toEqual({ rows: 0, recall: 0, massKept: 0, alpha: 0 });
    session.close();
  });

  it("answers as a plain one, which observes nothing", async () => {
    const [observing, plain] = await Promise.all([open({ trackMass: true, observe: true }), open()]);
    expect(await run(observing, settingsOf("sparq"))).toEqual(await run(plain, settingsOf("sparq")));
    expect(plain.observed()).toEqual(Array(2).fill({ rows: 0, recall: 0, massKept: 0, alpha: 0 }));
    observing.close();
    expect(() => observing.observed()).toThrow("the session is closed");
    plain.close();
  });

  it("cannot be asked while a step runs", async () => {
    const session = await open({ observe: true });
    const running = session.step([stepsOf(settingsOf("sparq"))[0]!]);
    expect(() => session.observed()).toThrow("a step of this session is running");
    expect(() => session.resetObserved()).toThrow("a step of this session is running");
    await running;
    session.close();
  });

  it("refuses rows by mass that do not follow their prompt, and writes nothing", async () => {
    const session = await open({ trackMass: true });
    const steps = stepsOf(settingsOf("mass"));
    const first = await run(session, settingsOf("mass"));
    await expect(session.step([steps[10]!])).rejects.toThrow(
      "sequence 0 ranks by mass, and the masses before its position 98 are not there: its rows follow neither its prompt",
    );
    const shared = { ...steps[2]!, blockTable: [2, 3] };
    await expect(session.step([shared])).rejects.toThrow("its first block is another sequence's too");
    const elsewhere = { ...steps[2]!, blockTable: [3, 1] };
    await expect(session.step([elsewhere])).rejects.toThrow("its prompt was not run from position 0 on");
    // Back at the prompt's end it decodes as before.
    const again: Float32Array[] = [];
    for (const sequence of steps.slice(2)) again.push((await session.step([sequence])).logits[0]!.slice());
    expect(again).toEqual(first.slice(2));
    session.close();
  });
});

describe("SPARQ_FAULT", () => {
  it.each(kernelFaults)("%s breaks SparQ, nothing else, and says so", async (fault) => {
    const [sparq, exact] = [{ ...settingsOf("sparq"), meanValue: true }, settingsOf("exact")];
    const plain = await open();
    const [right, rightExact] = [await run(plain, sparq), await run(plain, exact)];
    plain.close();
    const warned = vi.spyOn(console, "error").mockImplementation(() => {});
    vi.stubEnv("SPARQ_FAULT", fault);
    const broken = await open();
    vi.unstubAllEnvs();
    expect(warned).toHaveBeenCalledWith(expect.stringContaining(`SPARQ_FAULT=${fault} BREAKS SPARQ ATTENTION`));
    const wrong = await run(broken, sparq);
    expect(wrong.slice(0, 2)).toEqual(right.slice(0, 2));
    for (let i = 2; i < wrong.length; i++) expect(wrong[i]).not.toEqual(right[i]);
    expect(await run(broken, exact)).toEqual(rightExact);
    broken.close();
  });

  it("of no kind is refused", async () => {
    vi.stubEnv("SPARQ_FAULT", "everything");
    await expect(open()).rejects.toThrow("SPARQ_FAULT is everything, must be one of page, tau, group");
  });
});
