import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { packageRoot } from "../../attention/root.ts";
import type { Session } from "../../attention/session.ts";
import { loadModel } from "../../models/load.ts";
import { argmax, readGoldenBytes, readGoldenJson, sha256Of } from "../support/golden.ts";
import { openFor, SequenceRunner } from "../support/sequence-runner.ts";
import { locateSmolLm2 } from "../support/smollm2.ts";

/** As test/oracle/smollm2.py writes it. */
interface Golden {
  readonly gguf_sha256: string;
  readonly top: number;
  readonly positions: number;
  readonly prompts: readonly { readonly name: string; readonly ids: readonly number[] }[];
  readonly greedy: readonly {
    readonly prompt: readonly number[];
    readonly continuation: readonly number[];
    /** Logit of the best token less that of the second, at each step. */
    readonly gaps: readonly number[];
    readonly text: string;
  }[];
}

/** Least share of positions at which the likeliest token is the float32 model's. */
const AGREEMENT = 0.99;
/** Greedy text may part from the float32 model's only where that one's two best logits are this close. */
const UNDECIDED = 0.5;
/** Mean divergence, nats. */
const KL_MEAN = 0.02;
/** The long prompt as prefill chunks, and its end token by token. */
const CHUNK = 256;
const DECODED = 60;

const located = locateSmolLm2();
const golden = readGoldenJson<Golden>("smollm2", "index.json");
const bytes = readGoldenBytes("smollm2", "top.bin");
const { top, positions } = golden;
const topIds = new Uint16Array(bytes, 0, positions * top);
const topLogprobs = new Float32Array(bytes, topIds.byteLength, positions * top);
const restLogmass = new Float32Array(bytes, topIds.byteLength + topLogprobs.byteLength, positions);

interface RowResult {
  readonly agrees: boolean;
  /** KL divergence from the golden, nats, over its likeliest tokens and all others as one: a lower bound of the whole. */
  readonly divergence: number;
}

/** One row of logits against the golden's position. */
function compare(logits: Float32Array, position: number): RowResult {
  const best = argmax(logits);
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - logits[best]!);
  const logTotal = Math.log(total) + logits[best]!;
  let divergence = 0;
  let mass = 0;
  for (let i = position * top; i < (position + 1) * top; i++) {
    const logprob = logits[topIds[i]!]! - logTotal;
    divergence += Math.exp(topLogprobs[i]!) * (topLogprobs[i]! - logprob);
    mass += Math.exp(logprob);
  }
  const rest = restLogmass[position]!;
  divergence += Math.exp(rest) * (rest - Math.log(Math.max(1 - mass, Number.MIN_VALUE)));
  return { agrees: best === topIds[position * top], divergence };
}

/** Sizes of the steps that a prompt is run in. */
function steps(length: number): number[] {
  const decoded = length > CHUNK ? DECODED : 0;
  const chunks = Array.from({ length: Math.ceil((length - decoded) / CHUNK) }, (_, i) =>
    Math.min(CHUNK, length - decoded - i * CHUNK),
  );
  return [...chunks, ...new Array<number>(decoded).fill(1)];
}

describe("SmolLM2-135M-Instruct against transformers on the dequantised weights", () => {
  let session: Session | undefined;
  let runner: SequenceRunner;

  beforeAll(async () => {
    // The default reporter hides the reasons of skips in a file without failures.
    if ("missing" in located) return console.warn(`skipped: ${located.missing}`);
    const longest = Math.max(...golden.prompts.map(({ ids }) => ids.length));
    session = await openFor(await loadModel(located.path), longest);
    runner = new SequenceRunner(session);
  }, 600_000);
  beforeEach((context) => {
    if ("missing" in located) context.skip(located.missing);
  });
  afterAll(() => session?.close());

  it("has a golden that belongs to the GGUF", () => {
    const hint = "the golden is stale: run python test/oracle/smollm2.py";
    expect("path" in located && sha256Of(located.path), hint).toBe(golden.gguf_sha256);
  });

  it(`has the same likeliest token at ${100 * AGREEMENT} % of the positions or more`, async () => {
    const results: RowResult[] = [];
    for (const { ids } of golden.prompts) {
      runner.restart();
      let start = 0;
      for (const size of steps(ids.length)) {
        const logits = await runner.run(ids.slice(start, start + size));
        const vocab = logits.length / size;
        for (let row = 0; row < size; row++) {
          results.push(compare(logits.subarray(row * vocab, (row + 1) * vocab), results.length));
        }
        start += size;
      }
    }
    expect(results).toHaveLength(positions);
    const divergences = results.map(({ divergence }) => divergence);
    const report = {
      model: "smollm2-135m-instruct",
      positions,
      top1Agreement: results.filter(({ agrees }) => agrees).length / positions,
      klMean: divergences.reduce((a, b) => a + b) / positions,
      klMax: Math.max(...divergences),
    };
    console.log(report);
    const folder = join(packageRoot(), "build");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "smollm2-numerics.json"), `${JSON.stringify(report, null, 2)}\n`);
    expect(report.top1Agreement).toBeGreaterThanOrEqual(AGREEMENT);
    expect(report.klMean).toBeLessThan(KL_MEAN);
  });

  it.for(golden.greedy)("answers a chat as transformers does: $text", async ({ prompt, continuation, gaps }) => {
    const generated = await runner.greedy(prompt, continuation.length);
    const parted = generated.findIndex((token, i) => token !== continuation[i]);
    if (parted >= 0) expect(gaps[parted], `step ${parted}: ${generated[parted]}`).toBeLessThan(UNDECIDED);
  });
});
