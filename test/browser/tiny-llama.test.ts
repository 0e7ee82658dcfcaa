import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseServerOptions } from "../../server/config.ts";
import { loadServing } from "../../server/load-serving.ts";
import { type StartedServer, startServer } from "../../server/start.ts";
import { silentLog } from "../support/serving.ts";
import { answered, describeInChromium, send, usePages } from "./browser.ts";

const question = "The Queen turned angrily away from him, and said to the Knave";
const lettersOf = (text: string) => text.replace(/[^\p{L}\p{N}]/gu, "");

describeInChromium("the page with tiny-llama behind it", () => {
  let server: StartedServer;
  beforeAll(async () => {
    const options = parseServerOptions({ model: "tiny-llama", port: 0, graceSeconds: 0, threads: 1, kvCacheMb: 64 });
    server = await startServer(options, { load: loadServing, log: silentLog });
    await server.ready;
  });
  afterAll(() => server?.close());
  const { open } = usePages();

  // biome-ignore lint/suspicious/noExplicitAny: answers that other tests check
  const getJson = async (path: string, init?: RequestInit): Promise<any> =>
    (await fetch(`${server.url}${path}`, init)).json();

  /** Changes the body of what the page sends, for what it has no control for. */
  const alsoSend = (page: Page, more: object) =>
    page.route("**/v1/chat/completions", (route) =>
      route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), ...more }) }),
    );

  it("streams the answer that the API gives", async () => {
    const page = await open(server.url);
    await page.getByLabel("Temperature").fill("0");
    await page.getByLabel("Max tokens").fill("40");
    await send(page, question);
    await answered(page);
    const body = { messages: [{ role: "user", content: question }], temperature: 0, max_tokens: 40 };
    const { choices, usage } = await getJson("/v1/chat/completions", { method: "POST", body: JSON.stringify(body) });
    const text = (await page.locator(".markdown").textContent())!;
    expect(lettersOf(text)).toBe(lettersOf(choices[0].message.content));
    expect(lettersOf(text).length).toBeGreaterThan(20);
    const footnote = await page.locator(".measures").textContent();
    expect(footnote).toContain(`${usage.prompt_tokens} prompt tokens · ${usage.completion_tokens} new`);
  });

  it("stops in the middle of an answer, and the server has nothing left to run", async () => {
    const page = await open(server.url);
    await alsoSend(page, { ignore_eos: true, max_tokens: 4000 });
    for (const stop of [
      () => page.keyboard.press("Escape"),
      () => page.getByRole("button", { name: "Stop" }).click(),
    ]) {
      await send(page, question);
      await expect.poll(async () => (await getJson("/health")).running).toBe(1);
      await page.locator(".answer.running .markdown").waitFor();
      await stop();
      await expect.poll(() => getJson("/health")).toMatchObject({ running: 0, waiting: 0, kv_cache_usage: 0 });
      await answered(page);
      expect(await page.locator(".measures").last().textContent()).toMatch(/^stopped/);
    }
  });

  it("reads less than dense attention would of a text of 2000 tokens", async () => {
    const page = await open(server.url);
    await alsoSend(page, { ignore_eos: true });
    const prose = readFileSync(new URL("../golden/prose.txt", import.meta.url), "utf8");
    await page.getByRole("button", { name: "Add a long text" }).first().click();
    await page.getByLabel("Text to ask about").fill(prose.repeat(Math.ceil(6600 / prose.length)).slice(0, 6600));
    await page.getByLabel("Max tokens").fill("400");
    await page.getByRole("slider", { name: /^k/ }).fill("6");
    await send(page, "And then?");
    await answered(page);
    const footnote = page.locator(".measures");
    await expect.poll(() => footnote.textContent()).toMatch(/cache read 0\.\d\d× dense/);
    const [, promptTokens, ratio] = /([\d,]+) prompt tokens.*cache read ([\d.]+)×/.exec(
      (await footnote.textContent())!,
    )!;
    expect(Number(promptTokens!.replace(",", ""))).toBeGreaterThan(2000);
    expect(Number(ratio)).toBeGreaterThan(0);
    expect(Number(ratio)).toBeLessThan(0.5);
    const live = page.locator("figure", { hasText: "Cache read against dense" }).locator("strong");
    await expect.poll(async () => Number.parseFloat((await live.textContent())!)).toBeLessThan(0.5);
    expect(await page.getByRole("meter", { name: "Context" }).getAttribute("aria-valuetext")).toMatch(/ of 4,096$/);
  });

  it("says what the server says of a conversation that is too long", async () => {
    const page = await open(server.url);
    await page.getByRole("button", { name: "Add a long text" }).first().click();
    await page.getByLabel("Text to ask about").fill("far too long ".repeat(4000));
    await send(page, "And then?");
    const message = await page.getByRole("alert").textContent();
    expect(message).toMatch(/\d+ tokens/);
    expect(message).toContain("4096");
  });
});
