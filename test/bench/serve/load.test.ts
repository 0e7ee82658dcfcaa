import { expect, it } from "vitest";
import { type Ask, runLoad } from "../../../bench/serve/client/load.ts";
import { timeline } from "./timelines.ts";

const order = (dues: readonly number[], concurrency: number | null) => ({
  ...{ url: "http://localhost", headers: {}, concurrency, timeoutMs: 1000 },
  requests: dues.map((due, i) => ({ body: String(i), due })),
});

/** Answers when it is told to, and knows how many wait. */
function fake() {
  const open = new Map<string, () => void>();
  let most = 0;
  const ask: Ask = ({ body }, now) => {
    const sent = now();
    return new Promise((resolve) => {
      open.set(body, () => {
        open.delete(body);
        resolve({ ...timeline({ deltas: Number(body) }), sent, ended: now() });
      });
      most = Math.max(most, open.size);
    });
  };
  return { ask, open, most: () => most };
}

it("has no more requests under way than there are places, and sends them in their order", async () => {
  const { ask, open, most } = fake();
  const sent: string[] = [];
  const ended: number[] = [];
  const all = runLoad(
    order(new Array(7).fill(0), 3),
    (question, now) => {
      sent.push(question.body);
      return ask(question, now);
    },
    (n) => ended.push(n),
  );
  while (ended.length < 7) {
    await new Promise((resolve) => setImmediate(resolve));
    [...open.values()].at(-1)?.(); // The last one first: whoever waits must not care.
  }
  const timelines = await all;
  expect(most()).toBe(3);
  expect(sent).toEqual(["0", "1", "2", "3", "4", "5", "6"]);
  expect(ended).toEqual([1, 2, 3, 4, 5, 6, 7]);
  expect(timelines.map(({ deltas }) => deltas)).toEqual([0, 1, 2, 3, 4, 5, 6]);
});

it("sends nothing before it is due, and all at once without a limit", async () => {
  const { ask, open, most } = fake();
  const dues = [0, 0, 12.5, 12.5, 20];
  const all = runLoad(order(dues, null), ask, () => {});
  while (open.size < dues.length) await new Promise((resolve) => setImmediate(resolve));
  for (const answer of open.values()) answer();
  const timelines = await all;
  expect(most()).toBe(5);
  expect(timelines.map(({ due }) => due)).toEqual(dues);
  for (const { due, sent } of timelines) expect(sent).toBeGreaterThanOrEqual(due);
});
