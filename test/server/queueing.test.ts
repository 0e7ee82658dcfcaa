import { describe, expect, test } from "vitest";
import { parseServerOptions } from "../../server/config.ts";
import { queueingOf } from "../../server/queueing.ts";

describe("how a request waits", () => {
  test("is left to the engine if it says nothing", () => {
    expect(queueingOf({})).toEqual({});
    expect(queueingOf({ priority: null, user: null, cache_salt: null })).toEqual({});
    expect(queueingOf({ priority: 0, user: "", cache_salt: "" })).toEqual({});
  });

  test("is by its priority, in turn with other users, and shares cached prompts by its salt", () => {
    const said = queueingOf({ priority: -3, user: "a", cache_salt: "s" });
    expect(said).toEqual({ priority: -3, tenant: "a", cacheSalt: "s" });
  });
});

describe("options", () => {
  test("of steps have defaults and ranges", () => {
    expect(parseServerOptions({})).toMatchObject({ maxNumBatchedTokens: 512, prefillSlowdown: 1.75 });
    expect(parseServerOptions({ prefillSlowdown: "0" })).toMatchObject({ prefillSlowdown: 0 });
    for (const prefillSlowdown of ["0.5", "-1", "x", "1001"]) {
      expect(() => parseServerOptions({ prefillSlowdown })).toThrow("from 1 to 1000, or 0 for no limit");
    }
    expect(() => parseServerOptions({ maxNumBatchedTokens: "0" })).toThrow("from 1 to 65536");
  });
});
