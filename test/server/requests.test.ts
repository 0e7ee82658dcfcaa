import { describe, expect, it } from "vitest";
import { generateRequests } from "../../server/requests.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { servingOf } from "../support/serving.ts";

describe("generateRequests", () => {
  it("makes what may be large once for all sequences of a request", () => {
    const fields = { n: 3, stop: ["one", "two"], logit_bias: { "5": 1 } };
    const serving = servingOf(new FakeEngine(() => []));
    const requests = generateRequests(serving, "id", [[1], [2, 3]], fields, (tokens) => 10 - tokens);
    expect(requests.map(({ sampling }) => sampling.maxTokens)).toEqual([9, 9, 9, 8, 8, 8]);
    for (const shared of [(i: number) => requests[i]!.sampling.stop, (i: number) => requests[i]!.sampling.logitBias]) {
      expect(new Set(requests.map((_, i) => shared(i))).size).toBe(1);
    }
  });

  it("samples as the model's makers do where a request says nothing", () => {
    const sampling = { temperature: 0.6, topP: 0.9, topK: 20, minP: 0.05, repetitionPenalty: 1.1 };
    const serving = servingOf(new FakeEngine(() => []), { sampling });
    const of = (fields: object) => generateRequests(serving, "id", [[1]], fields, () => 9)[0]!.sampling;
    expect(of({})).toMatchObject(sampling);
    const own = { temperature: 0, top_p: 1, top_k: -1, min_p: 0, repetition_penalty: 1 };
    expect(of(own)).toMatchObject({ temperature: 0, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 });
    expect(of({ temperature: null, top_p: 0.5 })).toMatchObject({ temperature: 0.6, topP: 0.5 });
  });

  it("samples as the API does where the model says nothing either", () => {
    const serving = servingOf(new FakeEngine(() => []));
    const [request] = generateRequests(serving, "id", [[1]], {}, () => 9);
    expect(request!.sampling).toMatchObject({ temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 });
  });
});
