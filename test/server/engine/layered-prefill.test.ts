import { describe, expect, test } from "vitest";
import { LayeredPrefill } from "../../../server/engine/layered-prefill.ts";
import { Sequence } from "../../../server/engine/sequence.ts";
import { type Share, shareOf } from "../../../server/engine/share.ts";
import { attention, range, setUp, summary } from "../../support/scheduler.ts";

const sequenceOf = (id: string, length: number) =>
  new Sequence({ id, promptIds: range(length), maxNewTokens: 4, attention });
const layersOf = (shares: readonly Share[]) => shares.map(({ layers }) => layers && [layers.begin, layers.end]);

describe("a chunk on its way through the layers", () => {
  test("has as many rows as one layer has time for, within limits", () => {
    const layered = new LayeredPrefill(30);
    expect([0.01, 0.5, 1, 1.5, 2, 10].map((allowed) => layered.chunkRows(allowed))).toEqual([16, 16, 30, 45, 60, 60]);
  });

  test("goes through one layer at least in a step, and through as many as there is time for", () => {
    const layered = new LayeredPrefill(30);
    const shares = [shareOf(sequenceOf("a", 40), 20), shareOf(sequenceOf("b", 40), 20)];
    const first = layered.begin(shares, 4); // the time of four rows through thirty layers: three layers of forty rows
    expect(layersOf(first)).toEqual([
      [0, 3],
      [0, 3],
    ]);
    layered.commit(first);
    const second = layered.goOn(0.1);
    expect(layersOf(second)).toEqual([
      [3, 4],
      [3, 4],
    ]);
    layered.commit(second);
    layered.commit([]); // a step that was measured without it
    const last = layered.goOn(1000);
    expect(layersOf(last)).toEqual([
      [4, 30],
      [4, 30],
    ]);
    expect(second.every((share) => layered.stops(share))).toBe(true);
    expect(last.some((share) => layered.stops(share))).toBe(false);
    layered.commit(last);
    expect(layered.shares).toEqual([]);
    expect(layered.goOn(1)).toEqual([]);
  });

  test("is no chunk where there is time for all layers", () => {
    const layered = new LayeredPrefill(3);
    expect(layersOf(layered.begin([shareOf(sequenceOf("a", 4), 4)], 4))).toEqual([undefined]);
  });

  test("goes on without who leaves", () => {
    const layered = new LayeredPrefill(30);
    const [a, b] = [sequenceOf("a", 40), sequenceOf("b", 40)];
    layered.commit(layered.begin([shareOf(a, 20), shareOf(b, 20)], 4));
    layered.leave(a);
    const { sequence, layers } = layered.goOn(4)[0]!;
    expect(sequence).toBe(b);
    expect(layers).toEqual({ begin: 3, end: 9 });
    layered.leave(b);
    expect(layered.shares).toEqual([]);
  });
});

describe("prompts beside a sequence that decodes", () => {
  /** One stream, measured: a step alone takes 10 ms, and a row of a prompt 20. */
  function besideStream() {
    const set = setUp({ blocks: 400 }, { layers: 4, maxRows: 64, prefill: { slowdown: 1.5, floor: 4 } });
    const step = (seconds: number) => {
      const plan = set.scheduler.plan()!;
      const wanting = plan.sequences.filter(({ logits }) => logits === "last");
      set.scheduler.commit(
        wanting.map(({ requestId }) => ({ requestId, tokenIds: [7], finished: false })),
        seconds,
      );
      const layers = plan.sequences.map((s) => (s.layers ? `[${s.layers.begin},${s.layers.end})` : ""));
      return summary(plan).map((text, i) => text + layers[i]);
    };
    set.add("stream", [1], 1000);
    step(0.02);
    expect(step(0.01)).toEqual(["stream 1@1*"]);
    return { ...set, step };
  }

  test("take a few layers of many rows in each step, until their first token", () => {
    const { add, step } = besideStream();
    add("long", range(20));
    expect(step(0.03)).toEqual(["stream 1@2*", "long 16@0[0,1)"]);
    expect(step(0.01)).toEqual(["stream 1@3*", "long 16@0[1,2)"]);
    expect(step(0.01)).toEqual(["stream 1@4*", "long 16@0[2,3)"]);
    expect(step(0.01)).toEqual(["stream 1@5*", "long 16@0[3,4)"]);
    expect(step(0.01)).toEqual(["stream 1@6*", "long 4@16[0,1)"]);
  });

  test("go through all layers at once where nothing decodes any more", () => {
    const { add, step, scheduler } = besideStream();
    add("long", range(20));
    expect(step(0.03)).toEqual(["stream 1@2*", "long 16@0[0,1)"]);
    scheduler.abort("stream");
    expect(step(0.03)).toEqual(["long 20@0*"]);
  });

  test("leave what they have half done when they are aborted, and nobody goes on with it", () => {
    const { add, step, scheduler } = besideStream();
    add("long", range(20));
    expect(step(0.03)).toEqual(["stream 1@2*", "long 16@0[0,1)"]);
    scheduler.abort("long");
    add("long", range(18, 30));
    expect(step(0.03)).toEqual(["stream 1@3*", "long 16@0[0,1)"]);
  });
});
