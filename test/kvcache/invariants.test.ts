import { describe, expect, test } from "vitest";
import { type CacheSnapshot, checkInvariants } from "../../kvcache/invariants.ts";

// Block 0 free, 1 cached, 2 shared by two tables, 3 owned by one.
const sound: CacheSnapshot = {
  total: 4,
  free: [0],
  cached: [1],
  refCounts: [0, 0, 2, 1],
  prefixes: [
    ["x", 1],
    ["y", 2],
  ],
  tables: [
    { id: "a", blocks: [2, 3] },
    { id: "b", blocks: [2] },
    { id: "waiting", blocks: [] },
  ],
};

describe("checkInvariants", () => {
  test("finds nothing in sound bookkeeping", () => {
    expect(checkInvariants(sound)).toEqual([]);
  });

  test.each<[string, Partial<CacheSnapshot>, string]>([
    ["a lost block", { free: [] }, "0 free + 1 cached + 2 owned is not 4"],
    ["a block in two states", { free: [0, 1] }, "block 1 is free and cached"],
    ["a block that is free twice", { free: [0, 0] }, "block 0 is free and free"],
    ["a held block that is free", { free: [0, 3] }, "block 3 is free and owned"],
    ["a count too high", { refCounts: [0, 0, 3, 1] }, "block 2 counts 3 holders, 2 tables hold it"],
    ["a count too low", { refCounts: [0, 0, 1, 1] }, "block 2 counts 1 holders, 2 tables hold it"],
    ["missing counts", { refCounts: [0, 0, 2] }, "3 reference counts for 4 blocks"],
    ["a table with a block twice", { tables: [{ id: "a", blocks: [2, 2, 3] }] }, "table a holds a block twice: 2,2,3"],
    [
      "a block that is another page for another table",
      {
        tables: [
          { id: "a", blocks: [2, 3] },
          { id: "b", blocks: [3, 2] },
        ],
      },
      "table b holds block 3 as page 0, another as page 1",
    ],
    [
      "a block that does not exist",
      { tables: [{ id: "a", blocks: [7] }] },
      "table a holds block 7, outside the pool of 4",
    ],
    ["a free block that does not exist", { free: [9] }, "free block 9 is outside the pool of 4"],
    ["a prefix held twice", { prefixes: [...sound.prefixes, ["x", 3]] }, "a prefix is held twice"],
    ["a block with two prefixes", { prefixes: [...sound.prefixes, ["z", 2]] }, "a block holds two prefixes"],
    ["a cached block without prefix", { prefixes: [["y", 2]] }, "cached block 1 holds no prefix"],
    ["a free block with a prefix", { prefixes: [...sound.prefixes, ["z", 0]] }, "free block 0 holds a prefix"],
    ["a prefix nowhere", { prefixes: [...sound.prefixes, ["z", 4]] }, "a prefix is in block 4, outside the pool of 4"],
  ])("finds %s", (_, change, violation) => {
    expect(checkInvariants({ ...sound, ...change })).toContain(violation);
  });

  test("returns all violations at once", () => {
    expect(checkInvariants({ ...sound, free: [1], refCounts: [0, 0, 3, 1] }).length).toBeGreaterThanOrEqual(2);
  });
});
