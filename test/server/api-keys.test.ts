import { createHash } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ApiKeys, readKeyFile } from "../../server/api-keys.ts";
import type { StartedServer } from "../../server/start.ts";
import { runCli } from "../support/cli.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { serve, servingOf } from "../support/serving.ts";

const servers: StartedServer[] = [];
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function started(options: Readonly<Record<string, unknown>>) {
  const engine = new FakeEngine(() => ["fine"]);
  const server = await serve(servingOf(engine), options);
  servers.push(server);
  await server.ready;
  return { engine, url: server.url };
}

function ask(url: string, authorization?: string) {
  const headers = authorization === undefined ? {} : { authorization };
  return fetch(`${url}/v1/completions`, { method: "POST", body: '{"prompt":"a"}', headers });
}

function keyFile(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), "sparq-keys-")), "keys");
  writeFileSync(path, text);
  return path;
}

describe("API keys", () => {
  it("know a key by its hash, whichever it is", () => {
    const keys = new ApiKeys(["one", "two", "one"]);
    expect(keys.size).toBe(2);
    const hash = createHash("sha256").update("two").digest("hex");
    expect(keys.tenantOf("two")).toEqual({ id: hash.slice(0, 12), hash });
    for (const wrong of ["", "tw", "two ", "Two", "three"]) expect(keys.tenantOf(wrong)).toBeNull();
    expect(JSON.stringify(keys)).not.toMatch(/one|two/);
  });

  it("come from a file, one a line", () => {
    expect(readKeyFile(keyFile("# team a\nkey-a\r\n\n  key-b  \n"))).toEqual(["key-a", "key-b"]);
    expect(() => readKeyFile(keyFile("# none\n\n"))).toThrow(/has no key/);
    expect(() => readKeyFile("/no/such/keys")).toThrow("/no/such/keys: ENOENT");
    expect(() => new ApiKeys(["good", "has space"])).toThrow(/^API key 2 of 2 /);
  });
});

describe("a server with API keys", () => {
  it("answers 401 without one, or with another, and says how", async () => {
    const { url, engine } = await started({ apiKey: ["secret-1", "secret-2,secret-3"] });
    for (const [header, challenge] of [
      [undefined, 'Bearer realm="sparq"'],
      ["Basic c2VjcmV0LTE=", 'Bearer realm="sparq"'],
      ["Bearer ", 'Bearer realm="sparq"'],
      ["secret-1", 'Bearer realm="sparq"'],
      ["Bearer secret-4", 'Bearer realm="sparq", error="invalid_token"'],
      ["Bearer secret-2,secret-3", 'Bearer realm="sparq", error="invalid_token"'],
    ] as const) {
      const response = await ask(url, header);
      expect([header, response.status, response.headers.get("www-authenticate")]).toEqual([header, 401, challenge]);
      const text = await response.text();
      expect(JSON.parse(text)).toMatchObject({ error: { type: "invalid_request_error", code: "invalid_api_key" } });
      expect(text).not.toMatch(/secret/);
    }
    for (const path of ["/v1/models", "/no/such/path"]) expect((await fetch(url + path)).status).toBe(401);
    expect(engine.requests).toEqual([]);
    for (const header of ["Bearer secret-1", "bearer secret-2", "Bearer  secret-3"]) {
      expect((await ask(url, header)).status).toBe(200);
    }
  });

  it("works with OpenAI's client, which tells a wrong key as such", async () => {
    const { url } = await started({ apiKey: ["secret"] });
    const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
    expect((await clientOf("secret").models.list()).data[0]?.id).toBe("test-model");
    await expect(clientOf("wrong").models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
  });

  it("leaves probes and metrics open, the latter unless told otherwise", async () => {
    const { url } = await started({ apiKey: ["secret"] });
    for (const path of ["/health", "/livez", "/readyz", "/openapi.json", "/metrics"]) {
      expect([path, (await fetch(url + path)).status]).toEqual([path, 200]);
    }
    const closed = await started({ apiKey: ["secret"], metrics: "key" });
    expect((await fetch(`${closed.url}/metrics`)).status).toBe(401);
    const headers = { authorization: "Bearer secret" };
    expect((await fetch(`${closed.url}/metrics`, { headers })).status).toBe(200);
    const off = await started({ metrics: "off" });
    expect((await fetch(`${off.url}/metrics`)).status).toBe(404);
  });

  it("tells the engine whose request it is, and keeps cached prompts apart if asked to", async () => {
    const shared = await started({ apiKey: ["a", "b"] });
    for (const key of ["a", "b", "a"]) await ask(shared.url, `Bearer ${key}`);
    const [a, b, again] = shared.engine.requests;
    expect(a?.tenant).toMatch(/^[0-9a-f]{12}$/);
    expect(b?.tenant).not.toBe(a?.tenant);
    expect(again?.tenant).toBe(a?.tenant);
    expect(a?.cacheSalt).toBeUndefined();

    const apart = await started({ apiKey: ["a", "b"], cacheSaltPerKey: true });
    for (const key of ["a", "b", "a"]) await ask(apart.url, `Bearer ${key}`);
    const salts = apart.engine.requests.map(({ cacheSalt }) => cacheSalt);
    expect(salts[0]).toMatch(/^[0-9a-f]{64}/);
    expect(salts[1]).not.toBe(salts[0]);
    expect(salts[2]).toBe(salts[0]);
  });

  it("without keys takes everybody, whatever header they send", async () => {
    const { url, engine } = await started({});
    expect((await ask(url, "Bearer unused")).status).toBe(200);
    expect(engine.requests[0]).not.toHaveProperty("tenant");
  });
});

describe("API keys on the command line", () => {
  const run = (...args: string[]) => runCli(["serve", "no-such-model", "--port", "0", ...args]);
  const counted = ({ err }: { err: string }) => /"apiKeys":(\d+)/.exec(err)?.[1];

  it("come from flags, variables and a file, and never reach the log", async () => {
    vi.stubEnv("SPARQ_API_KEYS", "key-one, key-two");
    expect(counted(await run())).toBe("2");
    vi.stubEnv("SPARQ_API_KEYS", undefined);
    vi.stubEnv("SPARQ_API_KEY", "key-one");
    expect(counted(await run("--api-key-file", keyFile("key-two\nkey-three\n")))).toBe("3");
    const flags = await run("--api-key", "key-four", "--api-key", "key-five", "--log-level", "trace");
    expect(counted(flags)).toBe("2");
    expect(flags.err).not.toMatch(/key-/);
  });

  it("that cannot be used stop the server, unseen", async () => {
    const spaced = await run("--api-key", "no good");
    expect(spaced).toMatchObject({ exitCode: 2, err: expect.stringMatching(/--api-key \(or SPARQ_API_KEY\) must be/) });
    expect(spaced.err).not.toMatch(/no good/);
    expect(await run("--api-key-file", "/no/such/keys")).toMatchObject({
      exitCode: 1,
      err: "error: API key file /no/such/keys: ENOENT\n",
    });
  });

  it("missing on an open address are warned of", async () => {
    expect((await run("--host", "0.0.0.0")).err).toMatch(/there is no --api-key/);
    expect((await run("--host", "0.0.0.0", "--api-key", "k")).err).not.toMatch(/there is no --api-key/);
    expect((await run()).err).not.toMatch(/there is no --api-key/);
  });
});
