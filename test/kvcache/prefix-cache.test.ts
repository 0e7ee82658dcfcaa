import { describe, expect, test } from "vitest";
import { PrefixCache, PrefixChain } from "../../kvcache/prefix-cache.ts";

const keysOf = (tokens: number[], salt?: string) => {
  const chain = new PrefixChain(tokens, 2, salt);
  return Array.from({ length: chain.length }, (_, i) => chain.key(i));
};

describe("PrefixChain", () => {
  test("has a key for each full block and none for a partial one", () => {
    expect(keysOf([1])).toHaveLength(0);
    expect(keysOf([1, 2, 3, 4, 5])).toHaveLength(2);
    expect(() => new PrefixChain([1, 2, 3], 2).key(1)).toThrow("no full block 1 of 1");
  });

  test("equal prefixes have equal keys, whatever follows and in whatever order keys are asked for", () => {
    const [first, second] = keysOf([1, 2, 3, 4, 5, 6]);
    expect(keysOf([1, 2, 3, 4, 9])).toEqual([first, second]);
    expect(new PrefixChain([1, 2, 3, 4], 2).key(1)).toBe(second);
  });

  test("a key depends on every token up to its block, on their places and on the salt", () => {
    const keys = [
      keysOf([1, 2, 3, 4])[1],
      keysOf([0, 2, 3, 4])[1],
      keysOf([1, 2, 4, 3])[1],
      keysOf([3, 4, 1, 2])[1],
      keysOf([3, 4])[0],
      keysOf([1, 2, 3, 4, 3, 4])[2],
      keysOf([1, 2, 3, 4], "tenant")[1],
      keysOf([258, 0])[0], // the bytes 2, 1, 0, 0, ... must not run into each other
      keysOf([2, 1])[0],
    ];
    expect(new Set(keys).size).toBe(keys.length);
  });
});

describe("PrefixCache", () => {
  test("is one to one", () => {
    const cache = new PrefixCache();
    expect(cache.register("a", 1)).toBe(true);
    expect(cache.register("a", 1)).toBe(true);
    expect(cache.register("a", 2)).toBe(false);
    expect(cache.has(2)).toBe(false);
    expect(() => cache.register("b", 1)).toThrow("block 1 already holds another prefix");
    expect(cache.snapshot()).toEqual([["a", 1]]);
    cache.forget(1);
    cache.forget(1);
    expect(cache.find("a")).toBeUndefined();
    expect(cache.register("b", 1)).toBe(true);
  });
});
