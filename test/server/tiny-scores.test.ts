import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseServerOptions } from "../../server/config.ts";
import { loadServing } from "../../server/load-serving.ts";
import type { CompletionResponse } from "../../server/schemas/completions.ts";
import { type StartedServer, startServer } from "../../server/start.ts";
import { readGoldenBytes, readGoldenJson } from "../support/golden.ts";
import { loglikelihoodRequest, parseLogprobs, type ScoredChoice } from "../support/lm-eval.ts";
import { silentLog } from "../support/serving.ts";

/** As test/oracle/logits.py writes it. */
interface Golden {
  readonly vocab: number;
  readonly prompts: readonly {
    readonly name: string;
    readonly ids: number[];
    readonly rows: number[];
    offset: number;
  }[];
  readonly greedy: { readonly prompt: number[]; readonly continuation: number[] };
}

/** Of a log-probability: logits agree with transformers' to 1e-3 (tiny-logits.test.ts), over a cache in f32. */
const TOLERANCE = 2e-3;

describe.each(["tiny-llama", "tiny-pythia"])("the scores of %s", (model) => {
  const golden = readGoldenJson<Golden>(model, "index.json");
  const stored = new Float32Array(readGoldenBytes(model, "logits.bin"));
  let server: StartedServer;
  beforeAll(async () => {
    const small = { threads: 1, kvCacheMb: 64, maxContext: 1536, kvDtype: "f32", scanDtype: "f32" };
    server = await startServer(parseServerOptions({ model, port: 0, graceSeconds: 0, ...small }), {
      load: loadServing,
      log: silentLog,
    });
    await server.ready;
  }, 120_000);
  afterAll(() => server?.close());

  async function score(prompts: number[][], maxTokens = 1) {
    const body = JSON.stringify(loglikelihoodRequest(prompts, model, maxTokens));
    const response = await fetch(`${server.url}/v1/completions`, { method: "POST", body });
    expect(response.status).toBe(200);
    return (await response.json()) as CompletionResponse;
  }

  /** What transformers gives `token` after a stored row. */
  const expectedAt = (place: number, token: number) => {
    const logits = Float64Array.from(stored.subarray(place, place + golden.vocab));
    const peak = logits.reduce((a, b) => Math.max(a, b));
    const logOfSum = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - peak), 0));
    return { own: logits[token]! - peak - logOfSum, most: -logOfSum };
  };

  it("are those of transformers, over chunks and beside one another", async () => {
    const { choices } = await score(golden.prompts.map(({ ids }) => ids));
    for (const [i, { ids, rows, offset }] of golden.prompts.entries()) {
      const { token_logprobs, top_logprobs } = choices[i]!.logprobs!;
      expect([token_logprobs.length, top_logprobs.length]).toEqual([ids.length + 1, ids.length + 1]);
      for (const [j, row] of rows.entries()) {
        const next = ids[row + 1];
        if (next === undefined) continue;
        const { own, most } = expectedAt(offset + j * golden.vocab, next);
        expect(Math.abs(token_logprobs[row + 1]! - own)).toBeLessThan(TOLERANCE);
        expect(Math.abs(Math.max(...Object.values(top_logprobs[row + 1]!)) - most)).toBeLessThan(TOLERANCE);
      }
    }
  });

  it("call what transformers generates greedily greedy, and nothing else", async () => {
    const { prompt, continuation } = golden.greedy;
    const other = continuation.with(-1, (continuation.at(-1)! + 1) % golden.vocab);
    const { choices } = await score([
      [...prompt, ...continuation],
      [...prompt, ...other],
    ]);
    const [best, worse] = parseLogprobs(choices as ScoredChoice[], [prompt.length, prompt.length]);
    expect([best![1], worse![1]]).toEqual([true, false]);
    expect(best![0]).toBeGreaterThan(worse![0]);
  });

  it("are the same numbers whether or not a token is to follow, and when asked for again", async () => {
    const { ids } = golden.prompts.find(({ name }) => name === "long")!;
    const [followed, bare, again] = [await score([ids]), await score([ids], 0), await score([ids])];
    expect(bare.choices[0]!.logprobs!.token_logprobs).toEqual(
      followed.choices[0]!.logprobs!.token_logprobs.slice(0, ids.length),
    );
    expect(again.choices).toEqual(followed.choices);
  });
});
