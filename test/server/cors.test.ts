import { afterEach, describe, expect, it } from "vitest";
import { OptionError, parseServerOptions } from "../../server/config.ts";
import type { StartedServer } from "../../server/start.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { serve, servingOf } from "../support/serving.ts";

const servers: StartedServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function started(options: Readonly<Record<string, unknown>>): Promise<string> {
  const server = await serve(servingOf(new FakeEngine(() => ["a", "b"])), options);
  servers.push(server);
  await server.ready;
  return server.url;
}

/** What a browser asks before OpenAI's client may send its request from a page of another origin. */
const preflight = (url: string, origin: string) =>
  fetch(`${url}/v1/chat/completions`, {
    method: "OPTIONS",
    headers: {
      origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type,x-stainless-lang",
    },
  });

const stream = (url: string, headers: Record<string, string>) => {
  const body = JSON.stringify({ messages: [{ role: "user", content: "Hi" }], stream: true });
  return fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body });
};

const allowed = ({ headers }: Response) => headers.get("access-control-allow-origin");

describe("pages of other origins", () => {
  it("are not let in by default", async () => {
    const url = await started({});
    expect(allowed(await preflight(url, "http://localhost:3000"))).toBeNull();
    expect(allowed(await stream(url, { origin: "http://localhost:3000" }))).toBeNull();
  });

  it("are let in by name, before they have sent a key", async () => {
    const origin = "http://localhost:3000";
    const url = await started({ corsOrigin: [`${origin}, https://example.com`], apiKey: ["secret"] });
    const answer = await preflight(url, origin);
    expect([answer.status, allowed(answer)]).toEqual([204, origin]);
    expect(answer.headers.get("access-control-allow-headers")).toMatch(/authorization.*content-type.*x-stainless-lang/);
    expect(answer.headers.get("access-control-allow-methods")).toMatch(/POST/);
    expect(answer.headers.get("vary")).toMatch(/Origin/);
    expect(allowed(await preflight(url, "http://evil.example"))).toBeNull();

    const streamed = await stream(url, { origin, authorization: "Bearer secret" });
    expect([streamed.status, allowed(streamed)]).toEqual([200, origin]);
    expect(streamed.headers.get("access-control-expose-headers")).toMatch(/x-request-id/);
    expect(streamed.headers.get("vary")).toMatch(/Origin/);
    expect(await streamed.text()).toMatch(/\[DONE\]/);
    // The page must be able to read the error too.
    const refused = await stream(url, { origin });
    expect([refused.status, allowed(refused)]).toEqual([401, origin]);
  });

  it("are all let in by *", async () => {
    const url = await started({ corsOrigin: ["*"] });
    expect(allowed(await preflight(url, "null"))).toBe("*");
    expect(allowed(await stream(url, { origin: "https://example.com" }))).toBe("*");
  });

  it.each(["localhost:3000", "http://localhost:3000/", "http://a/b", "ftp://a", "*.example.com"])(
    "%s is no origin",
    (origin) => {
      expect(() => parseServerOptions({ corsOrigin: [origin] })).toThrow(OptionError);
    },
  );
});
