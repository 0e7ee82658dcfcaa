import { createHash } from "node:crypto";
import { posix } from "node:path";
import { describe, expect, it } from "vitest";
import { createApp } from "../../server/app.ts";
import type { Stats } from "../../server/page/app/stats.ts";
import { readAssets } from "../../server/page/assets.ts";
import { statsSchema } from "../../server/schemas/status.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { servingOf, silentLog } from "../support/serving.ts";

const options = { log: silentLog, pingMs: 1000, bodyLimitBytes: 1000 };
const loading = createApp({ ...options, state: () => ({ phase: "loading" }) });
const ready = createApp({
  ...options,
  state: () => ({ phase: "ready", serving: servingOf(new FakeEngine(() => [])) }),
});
const text = new TextDecoder();

describe("the page", () => {
  it("is there while the model loads, under a policy that allows its own import map and nothing else inline", async () => {
    const response = await loading.request("/");
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const policy = response.headers.get("content-security-policy")!;
    const html = await response.text();
    const map = /<script type="importmap">([\s\S]*?)<\/script>/.exec(html)![1]!;
    const hash = createHash("sha256").update(map).digest("base64");
    expect(policy).toContain(`script-src 'self' 'sha256-${hash}';`);
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
    expect(html).not.toMatch(/style=|\son\w+=/);
  });

  it("loads nothing from elsewhere: every import and every reference is an asset", async () => {
    const html = await (await loading.request("/")).text();
    const map: Record<string, string> = JSON.parse(/importmap">([\s\S]*?)<\/script>/.exec(html)![1]!).imports;
    const assets = readAssets();
    const references = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url]) => url!);
    for (const url of [...references, ...Object.values(map)].filter((url) => url !== "openapi.json")) {
      expect(assets.has(posix.normalize(url).replace(/^assets\//, "")), url).toBe(true);
    }
    let imports = 0;
    for (const [name, { body }] of assets) {
      if (!name.endsWith(".js")) continue;
      for (const [, specifier] of text.decode(body).matchAll(/\b(?:from|import)\s*"([^"\s]+)"/g)) {
        imports += 1;
        if (specifier!.startsWith("."))
          expect(assets.has(posix.join(posix.dirname(name), specifier!)), name).toBe(true);
        else expect(map, name).toHaveProperty([specifier!]);
      }
    }
    expect(imports).toBeGreaterThan(30);
  });

  it("sends a file again only when it has changed", async () => {
    const first = await loading.request("/assets/lib/preact.js");
    expect(first.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    const etag = first.headers.get("etag")!;
    const again = await loading.request("/assets/lib/preact.js", { headers: { "if-none-match": etag } });
    expect(again.status).toBe(304);
    expect(await again.text()).toBe("");
  });

  it("has no other files", async () => {
    for (const path of ["/assets/", "/assets/nothing.js", "/assets/../package.json", "/assets/%2e%2e/package.json"]) {
      expect((await loading.request(path)).status, path).toBe(404);
    }
  });
});

describe("GET /v1/sparq/stats", () => {
  it("tells the engine's sums, and what the page needs of the model", async () => {
    const body: Stats = statsSchema.strict().parse(await (await ready.request("/v1/sparq/stats")).json());
    expect(body).toMatchObject({
      model: "test-model",
      context_length: 128,
      head_size: 32,
      attention: { mode: "sparq", r: 8, k: 64, min_context: 0 },
      blocks: { total: 10, free: 10, cached: 0, owned: 0 },
      speculation: { drafts: 0, draft_tokens: 0, accepted_draft_tokens: 0 },
      traffic: { score_bytes: 0, gather_bytes: 0, dense_bytes: 0, dense_equivalent_bytes: 0 },
    });
  });

  it("waits for the model as the other endpoints do", async () => {
    const response = await loading.request("/v1/sparq/stats");
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ error: { code: "loading" } });
  });
});
