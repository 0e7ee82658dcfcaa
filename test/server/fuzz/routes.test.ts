import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createApp, openApiDocument } from "../../../server/app.ts";
import { createEngine } from "../../../server/engine/engine.ts";
import type { StartedServer } from "../../../server/start.ts";
import { FakeRunner } from "../../support/fake-model.ts";
import { serve, servingOf, silentLog, testTokenizer } from "../../support/serving.ts";
import { damagedBytes, type Schema, spoiltText, valuesOf } from "./bodies.ts";

const BLOCKS = 16;
const BLOCK_SIZE = 16;

let server: StartedServer;
beforeAll(async () => {
  const { vocabSize } = testTokenizer;
  const engine = createEngine({
    runner: new FakeRunner({ vocabSize, blocks: BLOCKS, blockSize: BLOCK_SIZE }),
    config: { vocabSize, maxPositions: 128, eosTokenIds: [] },
    tokenizer: testTokenizer,
    cache: { blocks: BLOCKS, blockSize: BLOCK_SIZE },
    checked: true,
  });
  server = await serve(servingOf(engine));
  await server.ready;
});
afterAll(() => server.close());

const app = createApp({ state: () => ({ phase: "loading" }), log: silentLog, pingMs: 1000, bodyLimitBytes: 1000 });
interface Document {
  readonly paths: Record<string, { post?: { requestBody?: { content: Record<string, { schema: Schema }> } } }>;
  readonly components: { readonly schemas: Record<string, Schema> };
}
const document = JSON.parse(JSON.stringify(openApiDocument(app))) as Document;
const endpoints = Object.entries(document.paths).flatMap(([path, { post }]) => {
  const schema = post?.requestBody?.content["application/json"]?.schema;
  return schema === undefined ? [] : [{ path, schema }];
});
const resolve = (reference: string) => document.components.schemas[reference.split("/").at(-1)!]!;

/** Bodies that the document allows, for the model that is served, most of them short. */
function bodiesOf(schema: Schema): fc.Arbitrary<object> {
  return fc.tuple(valuesOf(schema, resolve), fc.integer({ min: 0, max: 8 })).map(([body, most]) => {
    const { model: _model, ...rest } = body as { model?: unknown };
    return { ...rest, max_tokens: most };
  });
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function send(path: string, body: string | Uint8Array, contentType = "application/json"): Promise<Answer> {
  const response = await fetch(server.url + path, {
    method: "POST",
    body: body as NonNullable<RequestInit["body"]>,
    headers: { "content-type": contentType },
  });
  return { status: response.status, text: await response.text() };
}

const good = { prompt: "The answer", max_tokens: 12, temperature: 0, ignore_eos: true };
async function goodAnswer() {
  const { text } = await send("/v1/completions", JSON.stringify(good));
  return (JSON.parse(text) as { choices: unknown }).choices;
}

/** An answer, or a refusal that is the client's fault and says so in one shape. */
function expectSound({ status, text }: Answer): void {
  if (status === 200) {
    if (text.startsWith("data: ") || text.startsWith(": ")) expect(text).toMatch(/data: \[DONE\]\n\n$/);
    else expect(JSON.parse(text)).toBeTypeOf("object");
    expect(text).not.toContain("internal_error");
    return;
  }
  expect({ status, text }).toMatchObject({ status: expect.toSatisfy((code) => [400, 404, 413].includes(code)) });
  expect(JSON.parse(text)).toMatchObject({ error: { message: expect.stringMatching(/./), code: expect.any(String) } });
}

describe.each(endpoints)("$path", { timeout: 300_000 }, ({ path, schema }) => {
  const statuses = new Map<number, number>();
  const check = async (answer: Answer) => {
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
    expectSound(answer);
  };

  it("answers what its document allows, or says what it does not do", async () => {
    await fc.assert(
      fc.asyncProperty(bodiesOf(schema), async (body) => check(await send(path, JSON.stringify(body)))),
      { numRuns: 60 },
    );
    expect(statuses.get(200) ?? 0).toBeGreaterThan(0);
  });

  it("refuses spoilt values, damaged bytes and other content types, and goes on as before", async () => {
    const before = await goodAnswer();
    const spoilt = spoiltText(bodiesOf(schema));
    const types = fc.constantFrom(
      "application/json",
      "text/plain",
      "multipart/form-data; boundary=x",
      "application/xml",
      "x",
    );
    await fc.assert(
      fc.asyncProperty(spoilt, types, async (text, type) => check(await send(path, text, type))),
      { numRuns: 120 },
    );
    await fc.assert(
      fc.asyncProperty(
        damagedBytes(
          fc.oneof(
            spoilt,
            bodiesOf(schema).map((body) => JSON.stringify(body)),
          ),
        ),
        async (bytes) => check(await send(path, bytes)),
      ),
      { numRuns: 60 },
    );
    expect(statuses.get(400) ?? 0).toBeGreaterThan(10);
    expect(await goodAnswer()).toEqual(before);
    const health = (await (await fetch(`${server.url}/health`)).json()) as object;
    expect(health).toMatchObject({ status: "ok", running: 0, waiting: 0, kv_cache_usage: 0 });
  });
});
