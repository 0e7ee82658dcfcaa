import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { QueueGate } from "../../../server/engine/queue-gate.ts";

describe("the queue's gate", () => {
  test("lets in as many batches as may wait, each whole", () => {
    const gate = new QueueGate(2, () => 0);
    for (const batch of ["a", "a", "b", "b"]) {
      gate.check(batch);
      gate.enter(batch);
    }
    expect(gate.waiting).toBe(2);
    expect(() => gate.check("c")).toThrow("2 requests wait already; 2 may");
    gate.check("a"); // more of one that is in
    gate.started("a");
    gate.started("a");
    expect(gate.waiting).toBe(1);
    gate.check("c");
    gate.left("b");
    expect(gate.waiting).toBe(1);
    gate.left("b");
    expect(gate.waiting).toBe(0);
  });

  test("says when half of those who wait will have begun, at the pace of the last starts", () => {
    let now = 0;
    const gate = new QueueGate(8, () => now);
    expect(gate.retryAfterSeconds()).toBe(1); // nothing is known
    for (let i = 0; i < 4; i++) {
      gate.enter(`start ${i}`);
      gate.started(`start ${i}`);
      now += 3;
    }
    for (let i = 0; i < 8; i++) gate.enter(`waiting ${i}`);
    expect(gate.retryAfterSeconds()).toBe(12);
    expect(() => gate.check("more")).toThrow(expect.objectContaining({ code: "queue_full", retryAfterSeconds: 12 }));
    now += 1000;
    expect(gate.retryAfterSeconds()).toBe(60);
  });

  test("counts right whatever happens in whatever order", () => {
    const event = fc.record({
      kind: fc.constantFrom("enter", "started", "left"),
      batch: fc.constantFrom("a", "b", "c"),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const gate = new QueueGate(3, () => 0);
        const live = new Map<string, { count: number; started: boolean }>();
        for (const { kind, batch } of events) {
          gate[kind as "enter"](batch);
          const known = live.get(batch);
          if (kind === "enter") live.set(batch, { count: (known?.count ?? 0) + 1, started: known?.started ?? false });
          else if (known !== undefined && kind === "started") known.started = true;
          else if (known !== undefined && --known.count === 0) live.delete(batch);
          expect(gate.waiting).toBe([...live.values()].filter(({ started }) => !started).length);
        }
      }),
      { seed: 18 },
    );
  });
});
