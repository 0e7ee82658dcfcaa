import { afterEach, describe, expect, it } from "vitest";
import { parseServerOptions } from "../../server/config.ts";
import type { Serving } from "../../server/serving.ts";
import { type StartedServer, startServer } from "../../server/start.ts";
import { FakeEngine, gate } from "../support/fake-engine.ts";
import { serve, servingOf, silentLog } from "../support/serving.ts";

const servers: StartedServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function started(...args: Parameters<typeof serve>) {
  const server = await serve(...args);
  servers.push(server);
  return server;
}

const post = (url: string, body: object) =>
  fetch(`${url}/v1/completions`, { method: "POST", body: JSON.stringify(body) });

describe("a starting server", () => {
  it("answers 503 until the model is there", async () => {
    let arrive: (serving: Serving) => void = () => {};
    const server = await started(
      new Promise<Serving>((resolve) => {
        arrive = resolve;
      }),
    );
    const health = await fetch(`${server.url}/health`);
    expect([health.status, await health.json(), health.headers.get("retry-after")]).toEqual([
      503,
      { status: "loading", reason: "the model is still loading" },
      "1",
    ]);
    expect((await fetch(`${server.url}/readyz`)).status).toBe(503);
    expect(await (await fetch(`${server.url}/livez`)).json()).toEqual({ status: "ok", phase: "loading" });
    const early = await post(server.url, { prompt: "a" });
    expect(early.status).toBe(503);
    expect(await early.json()).toMatchObject({ error: { code: "loading", type: "service_unavailable" } });
    expect((await fetch(`${server.url}/v1/models`)).status).toBe(503);
    expect((await fetch(`${server.url}/openapi.json`)).status).toBe(200);

    arrive(servingOf(new FakeEngine(() => ["x"])));
    await server.ready;
    const ready = await fetch(`${server.url}/health`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toMatchObject({ status: "ok", model: "test-model", running: 0, kv_cache_usage: 0 });
    expect((await post(server.url, { prompt: "a" })).status).toBe(200);
  });

  it("says why a model cannot be loaded", async () => {
    const server = await started(Promise.reject(new Error("no such file")));
    await expect(server.ready).rejects.toThrow("no such file");
  });

  it("says that its port is taken", async () => {
    const { url } = await started(servingOf(new FakeEngine(() => [])));
    const port = Number(new URL(url).port);
    const second = serve(servingOf(new FakeEngine(() => [])), { port });
    await expect(second).rejects.toThrow(`cannot listen on 127.0.0.1:${port}: the port is in use`);
  });

  it("says that its host is no address", async () => {
    const options = parseServerOptions({ port: 0, host: "203.0.113.7" });
    const load = async () => servingOf(new FakeEngine(() => []));
    await expect(startServer(options, { load, log: silentLog })).rejects.toThrow(/cannot listen on 203\.0\.113\.7:0/);
  });
});

describe("a server with a step that does not end", () => {
  it("is not ready, and after ten minutes not alive", async () => {
    const engine = new FakeEngine(() => ["x"]);
    let seconds = 599;
    const stats = engine.stats.bind(engine);
    Object.assign(engine, { stats: () => ({ ...stats(), stuckStep: { description: "8 rows", seconds } }) });
    const server = await started(servingOf(engine));
    await server.ready;
    expect((await fetch(`${server.url}/readyz`)).status).toBe(503);
    expect((await fetch(`${server.url}/livez`)).status).toBe(200);
    expect(await (await fetch(`${server.url}/metrics`)).text()).toMatch(/^sparq:stuck_step_seconds\{.*\} 599$/m);
    seconds = 600;
    const hung = await fetch(`${server.url}/livez`);
    expect([hung.status, await hung.json()]).toEqual([
      503,
      { status: "stuck", phase: "ready", reason: expect.stringMatching(/600 s.*8 rows/) },
    ]);
  });
});

describe("a server whose weights have changed under it", () => {
  it("is neither ready nor alive", async () => {
    let reason: string | undefined;
    const server = await started({ ...servingOf(new FakeEngine(() => ["x"])), broken: () => reason });
    await server.ready;
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
    expect((await fetch(`${server.url}/livez`)).status).toBe(200);
    reason = "model.safetensors has changed";
    const [ready, alive] = [await fetch(`${server.url}/readyz`), await fetch(`${server.url}/livez`)];
    expect([ready.status, await ready.json()]).toEqual([503, expect.objectContaining({ status: "broken", reason })]);
    expect([alive.status, await alive.json()]).toEqual([503, { status: "broken", phase: "ready", reason }]);
  });
});

describe("a stopping server", () => {
  it("lets running requests finish and takes no new ones", async () => {
    const rest = gate();
    const engine = new FakeEngine(async function* () {
      yield "first";
      await rest.opened;
      yield { text: " last", finish: "stop" as const };
    });
    const server = await started(servingOf(engine), { graceSeconds: 60 });
    await server.ready;
    const running = await post(server.url, { prompt: "a", stream: true });
    const reader = running.body!.getReader();
    const first = new TextDecoder().decode((await reader.read()).value);
    expect(first).toMatch(/first/);

    const closed = server.close();
    const refused = await post(server.url, { prompt: "b" });
    expect([refused.status, refused.headers.get("connection")]).toEqual([503, "close"]);
    expect(await refused.json()).toMatchObject({ error: { code: "draining", type: "service_unavailable" } });
    const ready = await fetch(`${server.url}/readyz`);
    expect([ready.status, await ready.json()]).toEqual([
      503,
      { status: "draining", reason: "the server is shutting down" },
    ]);
    expect(await (await fetch(`${server.url}/livez`)).json()).toEqual({ status: "ok", phase: "draining" });
    expect(engine.closed).toBe(false);
    rest.open();
    let text = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += new TextDecoder().decode(part.value);
    }
    expect(text).toMatch(/ last.*\[DONE\]/s);
    await closed;
    expect(engine.closed).toBe(true);
    await expect(fetch(`${server.url}/livez`)).rejects.toThrow();
  });

  it("ends requests that take longer than it may wait", async () => {
    const never = gate();
    const engine = new FakeEngine(async function* () {
      yield "first";
      await never.opened;
    });
    const server = await started(servingOf(engine));
    await server.ready;
    const running = await post(server.url, { prompt: "a", stream: true });
    const reader = running.body!.getReader();
    await reader.read();
    await server.close();
    expect(engine.closed).toBe(true);
    await expect(reader.read()).rejects.toThrow();
  });

  it("frees a model that arrives too late", async () => {
    let arrive: (serving: Serving) => void = () => {};
    const server = await started(
      new Promise<Serving>((resolve) => {
        arrive = resolve;
      }),
    );
    await server.close();
    const engine = new FakeEngine(() => []);
    arrive(servingOf(engine));
    await expect.poll(() => engine.closed).toBe(true);
  });
});
