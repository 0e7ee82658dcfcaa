import { setImmediate as eventLoopTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { EventQueue, QueueReader } from "../../../server/engine/event-queue.ts";

const read = <T>(queue: EventQueue<T>) => {
  return new QueueReader(
    () => queue,
    () => {},
  );
};

/** Takes items with a pause of some turns before each. */
async function collect(queue: EventQueue<number>, pause = 0): Promise<number[]> {
  const items: number[] = [];
  for await (const item of read(queue)) {
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
      for await (const item of read(queue)) items.push(item);
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

  test("gives many items to one who comes late, in order, and the result behind them", async () => {
    const queue = new EventQueue<number, string>();
    const items = Array.from({ length: 1000 }, (_, i) => i);
    for (const item of items) queue.push(item);
    queue.end("all");
    for (const value of items) expect(await queue.next()).toEqual({ done: false, value });
    expect(await queue.next()).toEqual({ done: true, value: "all" });
  });
});

describe("a reader", () => {
  test("opens its queue when it is asked for something, and tells when it goes before the end", async () => {
    const calls: string[] = [];
    const queue = new EventQueue<number>();
    const reader = () =>
      new QueueReader(
        () => {
          calls.push("open");
          return queue;
        },
        () => calls.push("leave"),
      );
    await reader().return();
    expect(calls).toEqual([]);
    queue.push(1);
    queue.push(2);
    const second = reader();
    for await (const item of second) {
      expect(item).toBe(1);
      break;
    }
    expect(calls).toEqual(["open", "leave"]);
    expect(await second.next()).toEqual({ done: true, value: undefined });
    await expect(second.throw(new Error("late"))).rejects.toThrow("late");
    expect(calls).toEqual(["open", "leave"]);
  });

  test("rejects once with what its queue could not be opened for", async () => {
    const refused = new QueueReader<number, void>(
      () => {
        throw new Error("refused");
      },
      () => {},
    );
    await expect(refused.next()).rejects.toThrow("refused");
    expect(await refused.next()).toEqual({ done: true, value: undefined });
  });
});
