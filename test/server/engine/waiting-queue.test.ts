import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Sequence } from "../../../server/engine/sequence.ts";
import { WaitingQueue } from "../../../server/engine/waiting-queue.ts";
import { dense } from "../../support/engine.ts";

const sequence = (id: string, { tenant = "", priority = 0, rank = Number.POSITIVE_INFINITY } = {}) =>
  Object.assign(new Sequence({ id, promptIds: [1], maxNewTokens: 1, attention: dense, tenant, priority }), { rank });

function drain(queue: WaitingQueue): string {
  const ids: string[] = [];
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) ids.push(next.id);
  return ids.join(" ");
}

describe("who waits", () => {
  test("comes in order of arrival", () => {
    const queue = new WaitingQueue();
    for (const id of ["a", "b", "c"]) queue.add(sequence(id));
    expect(queue.first()!.id).toBe("a");
    expect(queue.size).toBe(3);
    expect(drain(queue)).toBe("a b c");
    expect(queue.size).toBe(0);
    expect(queue.first()).toBeUndefined();
  });

  test("comes by priority, the lower number first, below zero too", () => {
    const queue = new WaitingQueue();
    for (const priority of [3, 0, -2, 3]) queue.add(sequence(`p${priority}`, { priority }));
    expect(drain(queue)).toBe("p-2 p0 p3 p3");
  });

  test("takes turns by tenant", () => {
    const queue = new WaitingQueue();
    for (const id of ["a1", "a2", "a3", "b1", "b2", "c1"]) queue.add(sequence(id, { tenant: id[0]! }));
    expect(queue.shift()!.id).toBe("a1");
    queue.add(sequence("d1", { tenant: "d" })); // behind a's next turn, which was known before it came
    expect(drain(queue)).toBe("b1 c1 a2 d1 b2 a3");
  });

  test("has run before: goes first in its priority, and costs its tenant no turn", () => {
    const queue = new WaitingQueue();
    for (const id of ["a1", "a2", "b1"]) queue.add(sequence(id, { tenant: id[0]! }));
    queue.putBack(sequence("later", { rank: 7, tenant: "a" }));
    queue.putBack(sequence("earlier", { rank: 3, tenant: "b" }));
    queue.putBack(sequence("low", { rank: 1, priority: 1 }));
    expect(drain(queue)).toBe("earlier later a1 b1 a2 low");
  });

  test("can leave, and be replaced at its place", () => {
    const queue = new WaitingQueue();
    const [a, b, gone] = ["a", "b", "gone"].map((id) => sequence(id)) as [Sequence, Sequence, Sequence];
    const resumed = sequence("resumed", { rank: 1 });
    for (const one of [a, gone, b]) queue.add(one);
    queue.putBack(resumed);
    expect(queue.remove(gone)).toBe(true);
    expect(queue.remove(gone)).toBe(false);
    expect(queue.remove(resumed)).toBe(true);
    expect(queue.remove(a)).toBe(true);
    queue.add(sequence("in its place"), true);
    expect(drain(queue)).toBe("in its place b");
  });

  test("waits for its tenant's own and one request of each other tenant between them, whatever these send", () => {
    const arrivals = fc.array(
      fc.record({ tenant: fc.integer({ min: 0, max: 4 }), count: fc.integer({ min: 1, max: 9 }) }),
      {
        minLength: 1,
        maxLength: 30,
      },
    );
    fc.assert(
      fc.property(arrivals, fc.nat(8), (rounds, own) => {
        const queue = new WaitingQueue();
        for (const [i, { tenant, count }] of rounds.entries()) {
          for (let j = 0; j < count; j++) queue.add(sequence(`${i}.${j}`, { tenant: `t${tenant}` }));
        }
        for (let i = 0; i < own; i++) queue.add(sequence(`own ${i}`, { tenant: "mine" }));
        queue.add(sequence("mine", { tenant: "mine" }));
        let taken = 0;
        // New ones keep coming all the while.
        for (let next = queue.shift(); next!.id !== "mine"; next = queue.shift()) {
          taken += 1;
          const { tenant, count } = rounds[taken % rounds.length]!;
          for (let j = 0; j < count; j++) queue.add(sequence(`later ${taken}.${j}`, { tenant: `t${tenant}` }));
        }
        expect(taken).toBeLessThanOrEqual(own + 5 * (own + 1));
      }),
      { seed: 17 },
    );
  });
});
