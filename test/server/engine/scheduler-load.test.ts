import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CacheManager } from "../../../kvcache/cache-manager.ts";
import { checkInvariants } from "../../../kvcache/invariants.ts";
import { Scheduler } from "../../../server/engine/scheduler.ts";
import { attention, range, unlimited, wantsToken } from "../../support/scheduler.ts";

describe("under any load", () => {
  const request = fc.record({
    prompt: fc.integer({ min: 1, max: 16 }),
    family: fc.integer({ min: 0, max: 2 }),
    maxNewTokens: fc.integer({ min: 1, max: 30 }),
    scorePrompt: fc.boolean(),
    priority: fc.integer({ min: 0, max: 1 }),
    tenant: fc.constantFrom("t", "u"),
    /** Step before which it comes. */
    arrival: fc.integer({ min: 0, max: 25 }),
    /** Steps after which it is aborted. */
    patience: fc.option(fc.integer({ min: 0, max: 15 }), { freq: 5 }),
  });
  const load = fc.record({
    requests: fc.array(request, { minLength: 1, maxLength: 12 }),
    spareBlocks: fc.integer({ min: 0, max: 6 }),
    watermark: fc.integer({ min: 0, max: 3 }),
    maxRunning: fc.integer({ min: 1, max: 5 }),
    spareRows: fc.integer({ min: 0, max: 20 }),
    maxScoredRows: fc.integer({ min: 1, max: 6 }),
    speculation: fc.option(
      fc.record({ maxDraft: fc.integer({ min: 1, max: 9 }), stepCost: fc.constantFrom(0.1, 4, 100) }),
    ),
    /** How many tokens of a draft are right, in turn. */
    right: fc.array(fc.nat(9), { minLength: 1, maxLength: 7 }),
    prefill: fc.constantFrom(unlimited, { slowdown: 1.5, floor: 1 }),
    layers: fc.constantFrom(null, 2, 7),
    /** What steps take, over and over; every seventh is not measured. */
    seconds: fc.array(fc.double({ min: 0, max: 2, noNaN: true }), { minLength: 1, maxLength: 5 }),
  });

  test("everyone finishes, who goes first moves in every step, nobody overtakes in a tenant, and no block is lost", () => {
    const seen = { preemptions: 0, parked: 0, accepted: 0, refused: 0 };
    fc.assert(
      fc.property(load, ({ requests, spareBlocks, watermark, spareRows, right, seconds, ...settings }) => {
        const { maxRunning, maxScoredRows, prefill } = settings;
        const largest = Math.max(...requests.map((r) => Math.ceil((r.prompt + r.maxNewTokens - 1) / 4)));
        const manager = new CacheManager({ blocks: largest + spareBlocks, blockSize: 4, watermark });
        const scheduler = new Scheduler(manager, { maxRows: maxRunning + spareRows, ...settings });
        const live = new Set<string>();
        const between = new Map<string, { rows: number; contextLength: number; layer: number }>();
        const priorityOf = (id: string) => requests[Number(id.slice(1))]!.priority;
        const started: string[] = []; // by rank: who has been admitted, though a short prompt may get rows sooner
        const rankOf = (id: string) => scheduler.get(id)!.rank;
        const left = new Map(requests.map((r, i) => [`r${i}`, r.maxNewTokens]));
        const work = requests.reduce((sum, r) => sum + r.prompt + r.maxNewTokens, 25);
        const bound = prefill === unlimited ? work : 4 * work;
        for (let now = 0; left.size > 0; now++) {
          expect(now).toBeLessThanOrEqual(bound);
          for (const [i, r] of requests.entries()) {
            const id = `r${i}`;
            if (r.arrival === now) {
              const { priority, tenant, maxNewTokens, scorePrompt } = r;
              const promptIds = range(r.prompt, r.family);
              scheduler.add({ id, promptIds, maxNewTokens, attention, priority, tenant, scorePrompt });
              live.add(id);
            }
            if (r.patience !== null && r.arrival + r.patience === now && scheduler.abort(id)) {
              live.delete(id);
              left.delete(id);
            }
          }
          const plan = scheduler.plan();
          expect(plan === null).toBe(live.size === 0);
          if (plan === null) continue;
          const planned = plan.sequences.map(({ requestId }) => requestId);
          const begun = [...live].filter((id) => !started.includes(id) && rankOf(id) < Number.POSITIVE_INFINITY);
          started.push(...begun.sort((a, b) => rankOf(a) - rankOf(b)));
          const top = Math.min(...[...live].map(priorityOf));
          const first = started.find((id) => live.has(id) && priorityOf(id) === top);
          expect(first).toBeDefined();
          if (prefill === unlimited) expect(planned).toContain(first);
          const rows = plan.sequences.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
          expect(rows).toBeLessThanOrEqual(maxRunning + spareRows);
          const tail = plan.sequences.filter((s) => s.layers !== undefined);
          expect(tail).toEqual(plan.sequences.slice(plan.sequences.length - tail.length));
          if (tail.length > 0) expect(tail.length).toBeLessThan(plan.sequences.length);
          for (const { requestId, tokenIds, contextLength, layers } of tail) {
            const { begin, end } = layers!;
            // Rows go on where they stopped, with all of them.
            if (begin > 0)
              expect(between.get(requestId)).toEqual({ rows: tokenIds.length, contextLength, layer: begin });
            between.set(requestId, { rows: tokenIds.length, contextLength, layer: end });
            seen.parked += end < settings.layers! ? 1 : 0;
          }
          const results = plan.sequences
            .filter((s) => wantsToken(s, scheduler, settings.layers ?? Number.NaN))
            .map(({ requestId, draft = [] }, i) => {
              expect(draft.length).toBeLessThan(left.get(requestId)!);
              const tokenIds = [...draft.slice(0, right[(now + i) % right.length]), now % 5];
              return { requestId, tokenIds, finished: left.get(requestId) === tokenIds.length };
            });
          const scored = plan.sequences.filter(({ logits, draft }) => logits === "all" && draft === undefined);
          expect(scored.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)).toBeLessThanOrEqual(maxScoredRows);
          scheduler.commit(results, now % 7 === 0 ? undefined : seconds[now % seconds.length]);
          for (const { requestId, tokenIds, finished } of results) {
            left.set(requestId, left.get(requestId)! - tokenIds.length);
            if (!finished) continue;
            left.delete(requestId);
            live.delete(requestId);
          }
          expect(checkInvariants(manager.snapshot())).toEqual([]);
        }
        // Who scores may have to wait for a step's logits while others go on.
        for (const group of ["0t", "0u", "1t", "1u"].flatMap((name) => [`${name}true`, `${name}false`])) {
          const own = started
            .map((id) => requests[Number(id.slice(1))]!)
            .filter((r) => `${r.priority}${r.tenant}${r.scorePrompt}` === group);
          const arrivals = own.map(({ arrival }) => arrival);
          expect([...arrivals].sort((a, b) => a - b)).toEqual(arrivals);
        }
        const { total, free, cached } = manager.counts;
        expect(free + cached).toBe(total);
        const { preemptions, draftTokens, acceptedDraftTokens } = scheduler.stats;
        seen.preemptions += preemptions;
        seen.accepted += acceptedDraftTokens;
        seen.refused += draftTokens - acceptedDraftTokens;
      }),
      { seed: 13, numRuns: 200 },
    );
    // The loads do press, and drafts do run.
    expect(seen.preemptions).toBeGreaterThan(30);
    expect(seen.parked).toBeGreaterThan(100);
    expect(seen.accepted).toBeGreaterThan(100);
    expect(seen.refused).toBeGreaterThan(100);
  });
});
