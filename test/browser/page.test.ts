import type { Page } from "playwright-core";
import { afterEach, expect, it } from "vitest";
import type { StartedServer } from "../../server/start.ts";
import { FakeEngine, gate, type Script } from "../support/fake-engine.ts";
import { serve, servingOf, testTokenizer } from "../support/serving.ts";
import { answered, describeInChromium, overflow, send, seriousViolations, usePages } from "./browser.ts";

const lettersOf = (text: string) => text.replace(/[^\p{L}\p{N}]/gu, "");

const prose = [
  "## A heading\n\nSome *words* of **text** with `code` and a [link](https://example.org/a?b=c&d).\n\n",
  "- one\n- two\n  1. deep\n\n> quoted\n\n```js\nconst answer = 42; // and a line that is longer than a phone is wide, by far\n```\n\n",
  "| name | value |\n|---|--:|\n| a | 1 |\n\n---\n\n",
];

describeInChromium("the page", () => {
  let server: StartedServer | undefined;
  afterEach(() => server?.close());
  const { open } = usePages();

  const start = async (script: Script, options: Readonly<Record<string, unknown>> = {}) => {
    const engine = new FakeEngine(script);
    server = await serve(servingOf(engine, { contextLength: 4096 }), options);
    await server.ready;
    return { engine, url: server.url };
  };
  /** The body of the next chat request. */
  const nextBody = async (page: Page) =>
    (await page.waitForRequest((request) => request.url().endsWith("/v1/chat/completions"))).postDataJSON();

  it("shows an answer while it comes", async () => {
    const { opened, open: letGo } = gate();
    const { url } = await start(async function* () {
      yield "Once ";
      yield "upon";
      await opened;
      yield " a time.";
    });
    const page = await open(url);
    await send(page, "Tell me.");
    await page.locator(".markdown", { hasText: "Once upon" }).waitFor();
    expect(await page.getByRole("log").getAttribute("aria-busy")).toBe("true");
    letGo();
    await answered(page);
    expect(await page.locator(".markdown").textContent()).toBe("Once upon a time.");
    expect(await page.getByRole("log").getAttribute("aria-busy")).toBe("false");
  });

  it("sends what was said before, the system prompt, and a new line by Shift+Enter", async () => {
    const { url } = await start(() => ["Well."]);
    const page = await open(url);
    await page.getByLabel("System prompt").fill("Be brief.");
    await send(page, "First?");
    await answered(page);
    await page.getByLabel("Message").pressSequentially("Second");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("question?");
    const [body] = await Promise.all([nextBody(page), page.keyboard.press("Enter")]);
    expect(body.messages).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "First?" },
      { role: "assistant", content: "Well." },
      { role: "user", content: "Second\nquestion?" },
    ]);
  });

  it("sends the attention that the controls show", async () => {
    const { engine, url } = await start(() => ["Well."]);
    const page = await open(url);
    const [untouched] = await Promise.all([nextBody(page), send(page, "With the defaults?")]);
    expect(untouched.sparq).toBeUndefined();
    await answered(page);

    const r = page.getByRole("slider", { name: /^r/ });
    const k = page.getByRole("slider", { name: /^k/ });
    await r.focus();
    await page.keyboard.press("Home");
    for (let i = 0; i < 4; i++) await page.keyboard.press("ArrowRight");
    await k.focus();
    await page.keyboard.press("Home");
    for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowRight");
    expect(await r.getAttribute("aria-valuetext")).toBe("5 of 32");
    expect(await k.getAttribute("aria-valuetext")).toBe("24 of 4,096");
    await page.getByLabel("Temperature").fill("0.5");
    await page.getByLabel("Max tokens").fill("7");
    await page.getByLabel("Seed").fill("11");
    const [sparse] = await Promise.all([nextBody(page), send(page, "And now?")]);
    expect(sparse).toMatchObject({
      sparq: { mode: "sparq", r: 5, k: 24 },
      temperature: 0.5,
      max_tokens: 7,
      seed: 11,
      stream: true,
    });
    await answered(page);

    await page.getByRole("radio", { name: "Dense" }).check();
    expect(await r.isDisabled()).toBe(true);
    const [dense] = await Promise.all([nextBody(page), send(page, "Densely?")]);
    expect(dense.sparq).toEqual({ mode: "dense" });
    await answered(page);
    expect(engine.requests.map(({ attention: { mode, r, k } }) => [mode, r, k])).toEqual([
      ["sparq", 8, 64],
      ["sparq", 5, 24],
      ["dense", 8, 64],
    ]);
  });

  it("never makes HTML of what model or person write", async () => {
    const attacks = [
      `<img src="https://evil.example/a.png" onerror="window.hit=1">\n\n<script>window.hit=1</script>\n\n`,
      `<svg onload="window.hit=1"><iframe srcdoc="<script>parent.hit=1</script>"></iframe>\n\n`,
      `[a](javascript:window.hit=1) [b](JaVaScRiPt:window.hit=1) [c](data:text/html,x) [d](vbscript:x) <javascript:window.hit=1>\n\n`,
      `![i](https://evil.example/b.png) ![j](x" onerror="window.hit=1) [e](https://e.example/" onmouseover="window.hit=1)\n\n`,
      `\`\`\`<img src=x onerror=window.hit=1>\n<b>code</b>\n\`\`\`\n\n| <b onclick=window.hit=1>x</b> |\n|---|\n| <style>*{display:none}</style> |\n\n`,
      `- [x] <input autofocus onfocus=window.hit=1>\n\n<a href="javascript:window.hit=1">\n**bold</a>**`,
    ];
    const { url } = await start(() => attacks);
    const page = await open(url);
    await page.getByRole("button", { name: "Add a long text" }).first().click();
    await page.getByLabel("Text to ask about").fill(attacks.join(""));
    await send(page, attacks[0]!);
    await answered(page);
    const answer = page.locator(".markdown");
    const made = "img, script, svg, iframe, style, input, b, [onclick], [onerror], [onload], [onfocus], [onmouseover]";
    expect(await page.locator(".turns").locator(made).count()).toBe(0);
    for (const link of await answer.locator("a").all()) {
      expect(await link.getAttribute("href")).toMatch(/^(https?|mailto):/);
    }
    for (const seen of ['<img src="https://evil.example/a.png"', "<script>window.hit=1</script>", "<b>code</b>"]) {
      expect(await answer.textContent()).toContain(seen);
    }
    expect(await page.locator(".question").textContent()).toContain("<script>window.hit=1</script>");
    for (const text of await answer.locator("a").all()) await text.hover();
    await page.reload();
    await page.locator(".markdown").waitFor();
    expect(await page.evaluate("window.hit")).toBeUndefined();
    expect(await page.locator(".turns").locator(made).count()).toBe(0);
  });

  it("survives Markdown that nests without end", async () => {
    const nested = [">".repeat(500), ">".repeat(6000), "**_".repeat(2000), "[".repeat(4000), "- ".repeat(1000)];
    const { url } = await start(() => nested.flatMap((text) => [text, "x\n\n"]));
    const page = await open(url);
    await send(page, "Deeper.");
    await answered(page);
    expect(lettersOf((await page.locator(".markdown").textContent())!)).toBe("x".repeat(nested.length));
    await page.getByRole("button", { name: "Clear" }).click();
    await page.getByRole("heading", { name: "Chat with test-model" }).waitFor();
  });

  it("renders Markdown", async () => {
    const { url } = await start(() => prose);
    const page = await open(url);
    await send(page, "Show me.");
    await answered(page);
    const answer = page.locator(".markdown");
    expect(await answer.locator("h4").textContent()).toBe("A heading");
    expect(await answer.locator("p em").textContent()).toBe("words");
    expect(await answer.locator("p strong").textContent()).toBe("text");
    expect(await answer.locator("a").getAttribute("href")).toBe("https://example.org/a?b=c&d");
    expect(await answer.locator("ul > li > ol > li").textContent()).toBe("deep");
    expect(await answer.locator("blockquote").textContent()).toBe("quoted");
    expect(await answer.locator("pre code").textContent()).toMatch(/^const answer = 42;/);
    expect(await answer.locator("td").allTextContents()).toEqual(["a", "1"]);
  });

  it("shows errors with the server's message, and asks again", async () => {
    let tries = 0;
    const { url } = await start(function* () {
      tries += 1;
      if (tries === 1) throw new Error("at once");
      yield "Half an ";
      if (tries === 2) throw new Error("in the middle");
      yield "answer.";
    });
    const page = await open(url);
    await send(page, "Tell me.");
    await page.getByRole("alert").filter({ hasText: "the server failed to answer this request" }).waitFor();
    await page.getByRole("button", { name: "Try again" }).click();
    await page.locator(".markdown", { hasText: "Half an" }).waitFor();
    await page.getByRole("alert").filter({ hasText: "the server failed to answer this request" }).waitFor();
    await page.getByRole("button", { name: "Try again" }).click();
    await page.locator(".markdown", { hasText: "Half an answer." }).waitFor();
    expect(await page.getByRole("alert").count()).toBe(0);
    expect(await page.locator(".turn").count()).toBe(1);
  });

  it("says that the server is gone", async () => {
    const { url } = await start(() => ["Well."]);
    const page = await open(url);
    await page.locator(".server.good").waitFor();
    await server!.close();
    await page.locator(".server.bad", { hasText: "No connection" }).waitFor();
    await send(page, "Anyone?");
    await page.getByRole("alert").filter({ hasText: "cannot be reached" }).waitFor();
  });

  it("waits for a model that is loading", async () => {
    const { opened, open: loaded } = gate();
    const serving = servingOf(new FakeEngine(() => ["Well."]));
    server = await serve(opened.then(() => serving));
    const page = await open(server.url);
    await page.locator(".server.bad", { hasText: "the model is still loading" }).waitFor();
    loaded();
    await page.locator(".server.good", { hasText: "test-model" }).waitFor();
  });

  it("keeps the conversation, the settings and the text over a reload, until they are cleared", async () => {
    const { url } = await start(() => ["Well."]);
    const page = await open(url);
    await page.getByRole("radio", { name: "Dense" }).check();
    await page.getByRole("button", { name: "Add a long text" }).first().click();
    await page.getByLabel("Text to ask about").fill("A long text.");
    await send(page, "First?");
    await answered(page);
    await page.reload();
    expect(await page.locator(".question").textContent()).toContain("First?");
    expect(await page.locator(".markdown").textContent()).toBe("Well.");
    expect(await page.getByRole("radio", { name: "Dense" }).isChecked()).toBe(true);
    const [body] = await Promise.all([nextBody(page), send(page, "Second?")]);
    expect(body.messages.map(({ content }: { content: string }) => content)).toEqual([
      "A long text.\n\nFirst?",
      "Well.",
      "Second?",
    ]);
    await answered(page);
    await page.getByRole("button", { name: "Clear" }).click();
    await page.reload();
    await page.getByRole("heading", { name: "Chat with test-model" }).waitFor();
    expect(await page.locator(".turn").count()).toBe(0);
    const [fresh] = await Promise.all([nextBody(page), send(page, "Third?")]);
    expect(fresh.messages).toEqual([{ role: "user", content: "Third?" }]);
  });

  it("opens text files, and refuses others by name", async () => {
    const { url } = await start(() => ["Well."]);
    const page = await open(url);
    await page.getByRole("button", { name: "Add a long text" }).first().click();
    const file = page.getByLabel("Open a file");
    await file.setInputFiles({ name: "a.txt", mimeType: "text/plain", buffer: Buffer.from("Grüße") });
    await expect.poll(() => page.getByLabel("Text to ask about").inputValue()).toBe("Grüße");
    await file.setInputFiles({ name: "b.bin", mimeType: "text/plain", buffer: Buffer.from([0xff, 0, 1]) });
    await page.getByRole("alert").filter({ hasText: "b.bin is not a text file" }).waitFor();
    expect(await page.getByLabel("Text to ask about").inputValue()).toBe("Grüße");
  });

  it("counts the tokens of a text, and marks one that the server cannot take", async () => {
    const { url } = await start(() => ["Well."]);
    const page = await open(url);
    await page.getByRole("button", { name: "Add a long text" }).first().click();
    for (const text of ["Grüße <|im_start|>", "a b ".repeat(5000)]) {
      const count = testTokenizer.encode(text, { addSpecialTokens: false }).length;
      await page.getByLabel("Text to ask about").fill(text);
      const shown = page.locator(".count", { hasText: `${count.toLocaleString("en")} of 4,096 tokens` });
      expect(await shown.getAttribute("class")).toBe(count < 4096 ? "count" : "count error");
    }
  });

  it("asks for the key that the server wants, and keeps it in this tab alone", async () => {
    const { url } = await start(() => ["Well."], { apiKey: ["the-key"] });
    const page = await open(url);
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("API key").fill("wrong");
    await page.keyboard.press("Enter");
    await dialog.getByRole("alert").filter({ hasText: "the API key is not one that this server knows" }).waitFor();
    expect(await seriousViolations(page)).toEqual([]);
    await dialog.getByLabel("API key").fill("the-key");
    await page.keyboard.press("Enter");
    await dialog.waitFor({ state: "detached" });
    await send(page, "May I?");
    await answered(page);
    expect(await page.locator(".markdown").textContent()).toBe("Well.");
    expect(await page.evaluate("JSON.stringify({ ...localStorage })")).not.toContain("the-key");
    await page.reload();
    await page.locator(".server.good").waitFor();
  });

  it("fits a phone, with every control in reach", async () => {
    const { url } = await start(() => [...prose, "unbroken".repeat(60)]);
    const page = await open(url, { viewport: { width: 360, height: 640 } });
    expect(await overflow(page)).toBe(0);
    await page.getByRole("button", { name: "Add a long text" }).first().click();
    await page.getByLabel("Text to ask about").fill("wide".repeat(200));
    expect(await overflow(page)).toBe(0);
    await send(page, `Is this ${"wide".repeat(100)}?`);
    await answered(page);
    expect(await overflow(page)).toBe(0);
    await page.getByRole("button", { name: "Settings" }).click();
    await page.getByRole("slider", { name: /^k/ }).waitFor();
    await page.getByLabel("System prompt").scrollIntoViewIfNeeded();
    expect(await overflow(page)).toBe(0);
    await page.keyboard.press("Escape");
    expect(await page.getByLabel("Message").isVisible()).toBe(true);
  });

  it("has no serious fault that axe finds, in either scheme, wide and narrow", async () => {
    const { url } = await start(() => prose);
    for (const colorScheme of ["light", "dark"] as const) {
      for (const width of [1280, 360]) {
        const page = await open(url, { colorScheme, viewport: { width, height: 800 } });
        await page.locator(".server.good").waitFor();
        expect(await seriousViolations(page), `${colorScheme} ${width} empty`).toEqual([]);
        await page.getByRole("button", { name: "Add a long text" }).first().click();
        await page.getByLabel("Text to ask about").fill("A text.");
        expect(await seriousViolations(page), `${colorScheme} ${width} text`).toEqual([]);
        await send(page, "Show me.");
        await answered(page);
        expect(await seriousViolations(page), `${colorScheme} ${width} answer`).toEqual([]);
        if (width > 800) continue;
        await page.getByRole("button", { name: "Settings" }).click();
        expect(await seriousViolations(page), `${colorScheme} ${width} settings`).toEqual([]);
      }
    }
  });

  it("shows where the focus is on everything that takes it", async () => {
    const { url } = await start(() => prose);
    const page = await open(url);
    await send(page, "Show me.");
    await answered(page);
    await page.evaluate("document.activeElement.blur()");
    const seen = new Set<string>();
    for (let i = 0; i < 30; i++) {
      await page.keyboard.press("Tab");
      const [name, marked] = await page.evaluate<[string, boolean]>(`(() => {
        const element = document.activeElement;
        if (element === document.body) return ["", true];
        // Three have their mark on what stands for them.
        const shown = [element, element.closest(".composer"), element.nextElementSibling, element.closest(".file")];
        const has = (node) => node && (getComputedStyle(node).outlineStyle !== "none" || getComputedStyle(node).boxShadow !== "none");
        return [element.id || element.getAttribute("aria-label") || element.textContent || element.tagName, shown.some(has)];
      })()`);
      expect(marked, name).toBe(true);
      seen.add(name);
    }
    for (const name of ["question", "r", "k", "temperature", "max-tokens", "seed", "system", "Clear", "Conversation"]) {
      expect([...seen]).toContain(name);
    }
  });

  it("does not move under the reader while numbers come in", async () => {
    const { url } = await start(() => ["Well."]);
    const page = await open(url);
    await page.locator(".server.good").waitFor();
    const shifts = `new Promise((resolve) => {
      new PerformanceObserver((list) => resolve(list.getEntries().reduce((sum, { value }) => sum + value, 0)))
        .observe({ type: "layout-shift", buffered: true });
      setTimeout(() => resolve(0), 1000);
    })`;
    expect(await page.evaluate(shifts)).toBeLessThan(0.02);
  });
});
