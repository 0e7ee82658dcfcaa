import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect } from "vitest";

const places = [process.env.SPARQ_CHROMIUM ?? "", "/usr/bin/chromium", "/usr/bin/chromium-browser"];
const executablePath = places.find((path) => path !== "" && existsSync(path));

/** As describe; skipped, and said why, where there is no Chromium. CI always has one. */
export function describeInChromium(name: string, tests: () => void): void {
  if (executablePath === undefined && process.env.CI) throw new Error(`no Chromium in ${places.join(" ")}`);
  const reason = executablePath ? "" : " (skipped: no Chromium; Debian: apt install chromium, or set SPARQ_CHROMIUM)";
  describe.skipIf(executablePath === undefined)(`${name}${reason}`, tests);
}

const flags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A page with what must never happen on it counted. */
export interface Watched {
  readonly page: Page;
  /** Violations of the policy and errors of scripts. */
  readonly faults: string[];
  /** Requests to anywhere but the server. */
  readonly foreign: string[];
}

/**
 * Opens pages in one browser for the tests of a file; after each test, all that it opened must have kept the policy,
 * thrown nothing, and loaded nothing from elsewhere.
 */
export function usePages(): { open: (url: string, options?: BrowserContextOptions) => Promise<Page> } {
  let browser: Browser;
  let opened: Watched[] = [];
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: executablePath!, args: flags });
  });
  afterAll(() => browser.close());
  afterEach(async () => {
    const watched = opened;
    opened = [];
    await Promise.all(watched.map(({ page }) => page.context().close()));
    for (const { faults, foreign } of watched) expect({ faults, foreign }).toEqual({ faults: [], foreign: [] });
  });
  return {
    open: async (url, options = {}) => {
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
      context.setDefaultTimeout(120_000);
      const page = await context.newPage();
      opened.push(watch(page, url));
      await page.goto(url);
      return page;
    },
  };
}

function watch(page: Page, url: string): Watched {
  const faults: string[] = [];
  const foreign: string[] = [];
  const { origin } = new URL(url);
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    // What the server refuses is on the console, too, and some tests are about just that.
    if (/Content Security Policy|Trusted/i.test(message.text())) faults.push(message.text());
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) foreign.push(request.url());
  });
  return { page, faults, foreign };
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds that is serious or critical, as "rule: element". */
export async function seriousViolations(page: Page): Promise<string[]> {
  await page.evaluate(axeSource);
  return page.evaluate(`axe.run().then(({ violations }) => violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map(({ target }) => id + ": " + target.join(" "))))`);
}

/** Types a question and sends it by Enter. */
export async function send(page: Page, question: string): Promise<void> {
  await page.getByLabel("Message").fill(question);
  await page.keyboard.press("Enter");
}

/** Waits until no answer is running. */
export async function answered(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Send", exact: true }).waitFor();
}

/** How far the page's content is wider than its window, in pixels. */
export async function overflow(page: Page): Promise<number> {
  return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
}
