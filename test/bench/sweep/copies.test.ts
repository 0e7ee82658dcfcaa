import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { defaultAttention } from "../../../attention/defaults.ts";
import { openSession, type Session } from "../../../attention/session.ts";
import type { AttentionSettings, StepSequence } from "../../../attention/types.ts";
import { CopiedCache, prefill } from "../../../bench/sweep/copies.ts";
import { blocksOf, type Cell } from "../../../bench/sweep/plan.ts";
import { loadModel } from "../../../models/load.ts";

const stop = new AbortController().signal;

describe("tables of copied blocks", () => {
  /** A store that knows which source each of its blocks holds. */
  function store(blocks: number) {
    const content = Array.from({ length: blocks }, (_, block) => block);
    const copied: number[] = [];
    const copyBlock = (from: number, to: number) => {
      copied.push(to);
      content[to] = content[from]!;
    };
    return { session: { blockSize: 128, blocks, copyBlock }, content, copied };
  }

  it("have memory of their own for each sequence, and each block of the text in turn, whatever was decoded before", async () => {
    const cell = fc.record({ context: fc.integer({ min: 1, max: 2000 }), batch: fc.integer({ min: 1, max: 5 }) });
    const cases = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.array(cell, { minLength: 1, maxLength: 6 }));
    await fc.assert(
      fc.asyncProperty(cases, async ([sources, cells]) => {
        const most = Math.max(...cells.map((one) => blocksOf(one, 128)));
        const { session, content } = store(sources + most);
        const cache = new CopiedCache(session, sources);
        for (const one of cells) {
          const tables = await cache.tablesOf(one, stop);
          const written = Math.floor(one.context / 128);
          expect(tables).toHaveLength(one.batch);
          expect(new Set(tables.flat()).size).toBe(blocksOf(one, 128));
          expect(Math.min(...tables.flat())).toBeGreaterThanOrEqual(sources);
          for (const table of tables) {
            expect(table).toHaveLength(written + 1);
            const filled = table.slice(0, Math.ceil(one.context / 128));
            expect(filled.map((block) => content[block])).toEqual(filled.map((_, i) => i % sources));
            // Decoding spoils the block that it writes to.
            content[table[written]!] = -2;
          }
        }
        expect(content.slice(0, sources)).toEqual(Array.from({ length: sources }, (_, i) => i));
      }),
    );
  });

  it("copy only what is not there yet", async () => {
    const { session, copied } = store(100);
    const cache = new CopiedCache(session, 4);
    await cache.tablesOf({ context: 512, batch: 2 }, stop);
    expect(copied).toHaveLength(8);
    await cache.tablesOf({ context: 1024, batch: 2 }, stop);
    // All of the first sequence's first half was there, and all of its other half.
    expect(copied.slice(8)).toHaveLength(8);
  });

  it("copy nothing but the blocks that were decoded into, when cells take turns", async () => {
    const { session, copied } = store(200);
    const cache = new CopiedCache(session, 16);
    const cells = [200, 512, 1024, 2048].flatMap((context) => [1, 4, 8].map((batch) => ({ context, batch })));
    for (const cell of cells) await cache.tablesOf(cell, stop);
    copied.length = 0;
    for (const cell of cells) await cache.tablesOf(cell, stop);
    // Only at 200 positions is the block that is decoded into a copy of the text's: the second block of each sequence.
    const second = Array.from({ length: 8 }, (_, sequence) => 16 + 16 * sequence + 1);
    expect(new Set(copied)).toEqual(new Set(second));
  });

  it("are refused where the store is too small, and stop when told to", async () => {
    const { session } = store(10);
    const cache = new CopiedCache(session, 4);
    await expect(cache.tablesOf({ context: 512, batch: 2 }, stop)).rejects.toThrow(
      "10 blocks and 4 do not fit a store of 10",
    );
    await expect(cache.tablesOf({ context: 130, batch: 1 }, AbortSignal.abort())).rejects.toThrow();
  });
});

describe("steps over copies", () => {
  const SOURCES = 2;
  let session: Session;
  let attention: AttentionSettings;
  const tokens = Array.from({ length: SOURCES * 128 }, (_, i) => (i * 7919 + 13) % 1000);

  beforeAll(async () => {
    const { graphPath, config } = await loadModel("tiny-llama");
    attention = { ...defaultAttention(config), k: 64, local: 16, kShare: 0, minContext: 0 };
    session = await openSession({ graphPath, config, blocks: 32, threads: 1, dtype: "f16", scanDtype: "int8" });
    await prefill(session, tokens, attention);
  });
  afterAll(() => session.close());

  const decode = async (context: number, blockTables: readonly (readonly number[])[], settings: AttentionSettings) => {
    const row = { tokenIds: [5], contextLength: context, attention: settings, denseUntil: context };
    const { logits } = await session.step(
      blockTables.map((blockTable): StepSequence => ({ ...row, blockTable, logits: "last" })),
    );
    return logits.map((own) => Array.from(own));
  };

  it.each([256, 200])("are those over the text itself, at %d positions of it", async (context) => {
    const copies = new CopiedCache(session, SOURCES);
    const cell: Cell = { context, batch: 3 };
    for (const settings of [{ ...attention, mode: "dense" } as const, attention]) {
      const results = await decode(context, await copies.tablesOf(cell, stop), settings);
      // A table of the text's own blocks, but the one that is written to.
      const own = [...Array.from({ length: Math.floor(context / 128) }, (_, i) => i), 31];
      if (context % 128 !== 0) session.copyBlock(Math.floor(context / 128), 31);
      const [expected] = await decode(context, [own], settings);
      for (const result of results) expect(result).toEqual(expected);
    }
  });

  it("are the same again after other cells", async () => {
    const copies = new CopiedCache(session, SOURCES);
    const cell: Cell = { context: 700, batch: 2 };
    const first = await decode(700, await copies.tablesOf(cell, stop), attention);
    expect(first[0]).toEqual(first[1]);
    await decode(128, await copies.tablesOf({ context: 128, batch: 4 }, stop), attention);
    await decode(1100, await copies.tablesOf({ context: 1100, batch: 1 }, stop), attention);
    expect(await decode(700, await copies.tablesOf(cell, stop), attention)).toEqual(first);
  });
});
