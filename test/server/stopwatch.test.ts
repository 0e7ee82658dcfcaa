import { expect, it } from "vitest";
import { Stopwatch } from "../../server/stopwatch.ts";

it("adds up what each part took, and leaves out nothing", () => {
  let now = 500;
  const watch = new Stopwatch(() => now);
  const pass = (milliseconds: number) => {
    now += milliseconds;
  };
  pass(1000);
  watch.lap("model");
  pass(250);
  watch.lap("tokenizer");
  pass(500);
  watch.lap("model");
  pass(2000);
  expect(watch.laps).toEqual({ model: 1.5, tokenizer: 0.25 });
  expect(watch.seconds).toBe(3.75);
});
