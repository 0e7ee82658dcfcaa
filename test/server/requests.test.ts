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
});
