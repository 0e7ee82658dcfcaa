import { expect, it } from "vitest";
import { llamaCpp } from "../../../bench/compare/llama-cpp.ts";
import { planMemory } from "../../../bench/compare/memory.ts";
import { bytesPerPosition } from "../../../bench/compare/peer.ts";
import type { ModelConfig } from "../../../models/types.ts";

const config = { layers: 2, kvHeads: 3, headDim: 64, heads: 9 } as ModelConfig;
const peer = (name: string, held: number, transient: number) => ({
  name,
  memory: { held: () => held, transient: ({ batch }: { batch: number }) => transient * batch },
});
const request = {
  config,
  ...{ contexts: [2048, 8192], batches: [1, 8], steps: 16, blockSize: 64, bytesPerBlock: 1e6, weightBytes: 1e8 },
  peers: [peer("first", 2e9, 0), peer("second", 3e9, 0), peer("third", 1e9, 1e8)],
};
/** 9 x 129 blocks, those that are filled among them; four times the weights and a gigabyte. */
const alone = 1161e6 + 4e8 + 2 ** 30;

it("everything runs where there is room", () => {
  const plan = planMemory(request, alone + 6e9 + 8e8);
  expect(plan.skipped).toEqual([]);
  expect(plan.runs("third", 8192, 8)).toBe(true);
});

it("a peer that does not fit beside those before it is left out, and those after it may fit", () => {
  const plan = planMemory(request, alone + 4.9e9);
  expect(plan.skipped).toEqual([{ what: "second", reason: "it needs 3.0 GB, 2.9 GB of memory are left" }]);
  expect(plan.refused).toEqual(new Set(["second"]));
});

it("a cell whose step does not fit is left out with the numbers", () => {
  const plan = planMemory(request, alone + 6e9 + 5e8);
  expect(plan.skipped).toEqual(
    [2048, 8192].map((context) => ({
      what: `third at context ${context} x batch 8`,
      reason: "it needs 0.8 GB there, 0.5 GB of memory are left",
    })),
  );
  expect(plan.refused.size).toBe(0);
  expect(plan.runs("third", 8192, 8)).toBe(false);
  expect(plan.runs("third", 8192, 1)).toBe(true);
  expect(plan.runs("sparq", 8192, 8)).toBe(true);
});

it("what a peer would hold for a cell that it cannot run is left to others", () => {
  const large = {
    name: "large",
    memory: { held: ({ batch }: { batch: number }) => 1e9 * batch, transient: () => 1e9 },
  };
  const plan = planMemory({ ...request, peers: [large, peer("other", 2e9, 0)] }, alone + 5e9);
  expect(plan.refused.size).toBe(0);
  expect(plan.skipped.map(({ what }) => what)).toEqual(
    [2048, 8192].map((context) => `large at context ${context} x batch 8`),
  );
  expect(plan.skipped[0]!.reason).toBe("it needs 9.0 GB there, 5.0 GB of memory are left");
  expect(plan.runs("large", 8192, 1)).toBe(true);
});

it("what does not fit alone is refused with the numbers", () => {
  expect(() => planMemory({ ...request, peers: [] }, alone - 1)).toThrow(
    /^context 8192 x batch 8 needs 2\.6 GB .*1\.2 GB for sparq's cache.* 2\.6 GB are available/,
  );
});

it("llama.cpp's streams are padded", () => {
  expect(llamaCpp.memory.held({ config, positions: 8208, batch: 8 })).toBe(8 * 8448 * bytesPerPosition(config, 2));
});
