import { setImmediate as eventLoopTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { EventQueue } from "../../../server/engine/event-queue.ts";

/** Takes items with a pause of some turns before each. */
async function collect(queue: EventQueue<number>, pause = 0): Promise<number[]> {
  const items: number[] = [];
  for await (const item of queue.drain()) {
    items.push(item);
    for (let turn = 0; turn < pause; turn++) await eventLoopTurn();
  }
  return items;
}

describe("EventQueue", () => {
  test.each([0, 3])("gives a consumer that pauses %i turns everything, in order", async (pause) => {
    const queue = new EventQueue<number>();
    const collected = collect(queue, pause);
    for (let item = 0; item < 30; item++) {
      queue.push(item);
      if (item % 3 === 0) await eventLoopTurn();
    }
    queue.end();
    expect(await collected).toEqual(Array.from({ length: 30 }, (_, i) => i));
  });

  test("gives what came before an error, then the error", async () => {
    const queue = new EventQueue<number>();
    const items: number[] = [];
    queue.push(1);
    queue.push(2);
    queue.fail(new Error("broken"));
    const reading = (async () => {
      for await (const item of queue.drain()) items.push(item);
    })();
    await expect(reading).rejects.toThrow("broken");
    expect(items).toEqual([1, 2]);
  });

  test("wakes a waiting consumer for an end and for an error", async () => {
    const [ending, failing] = [new EventQueue<number>(), new EventQueue<number>()];
    const both = Promise.allSettled([collect(ending), collect(failing)]);
    await eventLoopTurn();
    ending.end();
    failing.fail("broken");
    expect(await both).toEqual([
      { status: "fulfilled", value: [] },
      { status: "rejected", reason: "broken" },
    ]);
  });

  test("ignores what comes after the end", async () => {
    const queue = new EventQueue<number>();
    queue.end();
    queue.push(1);
    queue.fail(new Error("late"));
    expect(await collect(queue)).toEqual([]);
  });
});
