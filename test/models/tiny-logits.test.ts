import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Session } from "../../attention/session.ts";
import { loadModel } from "../../models/load.ts";
import type { PreparedModel } from "../../models/types.ts";
import { maxDifference, readGoldenBytes, readGoldenJson, sha256Of } from "../support/golden.ts";
import { openFor, SequenceRunner } from "../support/sequence-runner.ts";

/** As test/oracle/logits.py writes it. */
interface Golden {
  readonly model_sha256: string;
  readonly vocab: number;
  readonly prompts: readonly {
    readonly name: string;
    readonly ids: readonly number[];
    readonly rows: readonly number[];
    readonly offset: number;
  }[];
  readonly greedy: { readonly prompt: readonly number[]; readonly continuation: readonly number[] };
}

const TOLERANCE = 1e-3;

describe.each(["tiny-llama", "tiny-pythia"])("%s against transformers", (name) => {
  const golden = readGoldenJson<Golden>(name, "index.json");
  const stored = new Float32Array(readGoldenBytes(name, "logits.bin"));
  const long = golden.prompts.find((prompt) => prompt.name === "long")!;
  let model: PreparedModel;
  let session: Session;
  let runner: SequenceRunner;

  beforeAll(async () => {
    model = await loadModel(name);
    session = await openFor(model, long.ids.length + 64);
    runner = new SequenceRunner(session);
  }, 60_000);
  afterAll(() => session?.close());

  /** Of [rows, vocab], the rows that the golden has. */
  const pick = (logits: Float32Array, rows: readonly number[]) => {
    const picked = new Float32Array(rows.length * golden.vocab);
    for (const [i, row] of rows.entries()) {
      picked.set(logits.subarray(row * golden.vocab, (row + 1) * golden.vocab), i * golden.vocab);
    }
    return picked;
  };
  const expectedOf = ({ rows, offset }: Golden["prompts"][number]) =>
    stored.subarray(offset, offset + rows.length * golden.vocab);

  it("has a golden that belongs to its model.onnx", () => {
    const hint = "the golden is stale: run python test/oracle/logits.py";
    expect(sha256Of(model.source), hint).toBe(golden.model_sha256);
    expect(model.config.vocabSize, hint).toBe(golden.vocab);
  });

  it.each(golden.prompts)("gives its logits on the prompt '$name'", async (prompt) => {
    const logits = await runner.restart().run(prompt.ids);
    expect(logits).toHaveLength(prompt.ids.length * golden.vocab);
    expect(maxDifference(pick(logits, prompt.rows), expectedOf(prompt))).toBeLessThanOrEqual(TOLERANCE);
  });

  it("agrees with the unmodified model.onnx in onnxruntime-node", async () => {
    const original = await InferenceSession.create(model.source, { intraOpNumThreads: 1, interOpNumThreads: 1 });
    const { ids } = long;
    const positions = ids.map((_, i) => BigInt(i));
    const feeds: Record<string, Tensor> = {
      input_ids: new Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]),
      attention_mask: new Tensor("int64", new BigInt64Array(ids.length).fill(1n), [1, ids.length]),
      position_ids: new Tensor("int64", BigInt64Array.from(positions), [1, ids.length]),
    };
    const { kvHeads, headDim } = model.config;
    for (const input of original.inputNames.filter((candidate) => candidate.startsWith("past_key_values"))) {
      feeds[input] = new Tensor("float32", new Float32Array(0), [1, kvHeads, 0, headDim]);
    }
    const { logits } = await original.run(feeds, ["logits"]);
    const ours = await runner.restart().run(ids);
    expect(maxDifference(ours, logits!.data as Float32Array)).toBeLessThanOrEqual(TOLERANCE);
    await original.release();
  });

  it("continues greedily with the same tokens", async () => {
    const { prompt, continuation } = golden.greedy;
    expect(await runner.greedy(prompt, continuation.length)).toEqual(continuation);
  });

  // Attention gives a row bitwise the same however its sequence was cut. ONNX Runtime promises no such thing of matrix
  // products, whose kernels it chooses by the number of rows: equal to the last bit on AVX-512, as found, not everywhere.
  const ROUNDING = 1e-4;
  const text = long.ids.slice(0, 500);

  it.each([
    ["decodes after a prefill of half the text", [250, 1]],
    ["decodes from the second token on", [1, 1]],
    ["prefills page by page", [64]],
    ["prefills in uneven chunks", [1, 63, 2, 333]],
  ])("%s as one long prefill would", async (_, sizes) => {
    const whole = await runner.restart().run(text);
    const cut = await runner.restart().runChunks(text, sizes);
    expect(maxDifference(cut, whole)).toBeLessThanOrEqual(ROUNDING);
  });
});
