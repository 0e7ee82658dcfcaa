import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { kStops, nearestStop } from "../../server/page/app/k-stops.ts";
import { attentionOf, defaultSettings, requestFields, restoreSettings } from "../../server/page/app/settings.ts";
import type { Stats } from "../../server/page/app/stats.ts";

const stats: Stats = {
  model: "m",
  context_length: 4096,
  head_size: 32,
  attention: { mode: "sparq", r: 8, k: 256 },
  running: 0,
  waiting: 0,
  blocks: { total: 1, cached: 0, owned: 0 },
  generated_tokens: 0,
  speculation: { draft_tokens: 0, accepted_draft_tokens: 0 },
  traffic: { score_bytes: 0, gather_bytes: 0, dense_bytes: 0, dense_equivalent_bytes: 0 },
};

describe("requestFields", () => {
  it("leaves to the server what nobody has set", () => {
    expect(requestFields(defaultSettings, stats)).toEqual({ temperature: 0.7, max_tokens: 512 });
    expect(requestFields({ ...defaultSettings, maxTokens: null, seed: 0 }, null)).toEqual({
      temperature: 0.7,
      seed: 0,
    });
  });

  it("sends attention as a whole once a part of it is set", () => {
    expect(requestFields({ ...defaultSettings, r: 4 }, stats)).toMatchObject({
      sparq: { mode: "sparq", r: 4, k: 256 },
    });
    expect(requestFields({ ...defaultSettings, mode: "dense", r: 4 }, stats).sparq).toEqual({ mode: "dense" });
    expect(requestFields({ ...defaultSettings, r: 4 }, null).sparq).toEqual({ r: 4 });
  });

  it("sends no attention to a server that runs its model as it is", () => {
    const asIs: Stats = { ...stats, head_size: 0, attention: { mode: "onnx", r: 0, k: 0 } };
    const set = { ...defaultSettings, mode: "sparq", r: 4, k: 64 } as const;
    expect(requestFields(set, asIs)).toEqual({ temperature: 0.7, max_tokens: 512 });
    expect(attentionOf(set, asIs).mode).toBe("dense");
  });

  it("keeps to the ranges of the model that is served now", () => {
    const settings = { ...defaultSettings, r: 128, k: 100_000 };
    expect(attentionOf(settings, stats)).toEqual({ mode: "sparq", r: 32, k: 4096 });
  });
});

describe("restoreSettings", () => {
  it("gives back what was kept", () => {
    const settings = {
      mode: "dense",
      r: 3,
      k: 9,
      temperature: 0,
      maxTokens: null,
      seed: 5,
      system: "Be brief.",
    } as const;
    expect(restoreSettings(JSON.parse(JSON.stringify(settings)))).toEqual(settings);
  });

  it("makes settings of anything", () => {
    expect(restoreSettings(null)).toEqual(defaultSettings);
    const odd = { mode: "fast", r: "8", k: 1.5, temperature: -1, maxTokens: {}, seed: [], system: 3 };
    expect(restoreSettings(odd)).toEqual({ ...defaultSettings, maxTokens: null });
    fc.assert(fc.property(fc.jsonValue(), (value) => typeof restoreSettings(value).temperature === "number"));
  });
});

describe("kStops", () => {
  it("climbs evenly by ratio, up to the context", () => {
    expect(kStops(100)).toEqual([8, 12, 16, 24, 32, 48, 64, 96, 100]);
    expect(kStops(4)).toEqual([4]);
  });

  it("has a stop within a quarter of any k in range, and itself for each of its own", () => {
    fc.assert(
      fc.property(fc.integer({ min: 8, max: 200_000 }), fc.nat(), (context, seed) => {
        const stops = kStops(context);
        const k = 8 + (seed % (context - 7));
        const stop = stops[nearestStop(stops, k)]!;
        expect(Math.abs(Math.log(stop / k))).toBeLessThan(0.25);
        expect(stops.map((own) => nearestStop(stops, own))).toEqual([...stops.keys()]);
        expect(stops.at(-1)).toBe(context);
      }),
    );
  });
});
