import { afterEach, describe, expect, test } from "vitest";
import { parseServerOptions } from "../../server/config.ts";
import { engineErrors } from "../../server/engine/errors.ts";
import { queueingOf } from "../../server/queueing.ts";
import type { StartedServer } from "../../server/start.ts";
import { FakeEngine, type ScriptStep } from "../support/fake-engine.ts";
import { serve, servingOf } from "../support/serving.ts";

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

describe("a server that is busy", () => {
  let server: StartedServer | undefined;
  afterEach(() => server?.close());

  async function ask(script: readonly ScriptStep[], fields: object = {}): Promise<Response> {
    server = await serve(servingOf(new FakeEngine(() => script)));
    await server.ready;
    const body = JSON.stringify({ prompt: "hi", ...fields });
    return fetch(`${server.url}/v1/completions`, { method: "POST", body });
  }

  test("says 429 and when to come again if too many wait", async () => {
    const response = await ask([engineErrors.queueFull(8, 8, 7)]);
    expect([response.status, response.headers.get("retry-after")]).toEqual([429, "7"]);
    expect(await response.json()).toEqual({
      error: {
        message: "8 requests wait already; 8 may",
        type: "rate_limit_exceeded",
        param: null,
        code: "queue_full",
      },
    });
  });

  test("says 503 and when to come again if a request has waited too long", async () => {
    const response = await ask([engineErrors.queueTimeout(30, 9)]);
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "9"]);
    expect(await response.json()).toMatchObject({ error: { type: "service_unavailable", code: "queue_timeout" } });
  });

  test("says 504, and not to try again, if a request took too long", async () => {
    const response = await ask(["a", engineErrors.requestTimeout(60, 1)]);
    expect([response.status, response.headers.get("x-should-retry")]).toEqual([504, "false"]);
    expect(await response.json()).toMatchObject({ error: { type: "timeout", code: "request_timeout" } });
  });

  test("says so in the stream once that has begun", async () => {
    const response = await ask(["a", engineErrors.requestTimeout(60, 1)], { stream: true });
    expect(response.status).toBe(200);
    const text = await response.text();
    expect(text).toContain('"code":"request_timeout"');
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  test("is not healthy while a step is stuck", async () => {
    const engine = new FakeEngine(() => []);
    const stats = engine.stats();
    let stuckStep: { seconds: number; description: string } | undefined = { seconds: 61.4, description: "2 rows" };
    engine.stats = () => ({ ...stats, ...(stuckStep && { stuckStep }) });
    server = await serve(servingOf(engine));
    await server.ready;
    const stuck = await fetch(`${server.url}/health`);
    expect([stuck.status, stuck.headers.get("retry-after")]).toEqual([503, "10"]);
    expect(await stuck.json()).toMatchObject({
      status: "stuck",
      reason: "a step has taken 61 s and still runs: 2 rows",
    });
    stuckStep = undefined;
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
  });
});
