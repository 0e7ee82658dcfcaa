import { describe, expect, it } from "vitest";
import { sizeCache } from "../../server/resources.ts";

describe("the cache's size", () => {
  const base = { bytesPerBlock: 2 ** 20, blockSize: 64, contextLimit: 1000, maxRunning: 4, megabytes: undefined };

  it("is a quarter of the free memory", () => {
    expect(sizeCache({ ...base, freeBytes: 160 * 2 ** 20 })).toEqual({ blocks: 40, contextLength: 1000 });
  });

  it("is no more than the sequences can fill", () => {
    expect(sizeCache({ ...base, freeBytes: 2 ** 40 })).toEqual({ blocks: 4 * 16, contextLength: 1000 });
    expect(sizeCache({ ...base, contextLimit: 2 ** 20, freeBytes: 2 ** 40 }).blocks).toBe(8192);
  });

  it("is what was asked for, and bounds the context", () => {
    expect(sizeCache({ ...base, megabytes: 5, freeBytes: 0 })).toEqual({ blocks: 5, contextLength: 320 });
  });

  it("must hold a block", () => {
    expect(() => sizeCache({ ...base, bytesPerBlock: 2 ** 21, megabytes: 1, freeBytes: 0 })).toThrow(
      "a cache of 1.0 MB holds no block: one block of 64 tokens takes 2.0 MB; set --kv-cache-mb",
    );
  });
});
