import { describe, expect, it } from "vitest";
import { createApp, openApiDocument } from "../../server/app.ts";
import { pagePaths } from "../../server/page/routes.ts";
import { completionRequestSchema } from "../../server/schemas/completions.ts";
import { silentLog } from "../support/serving.ts";

const app = createApp({ state: () => ({ phase: "loading" }), log: silentLog, pingMs: 1000, bodyLimitBytes: 1000 });
// biome-ignore lint/suspicious/noExplicitAny: the document is what is being checked
const document = JSON.parse(JSON.stringify(openApiDocument(app))) as any;

/** For people, not for clients. */
const pageRoutes: readonly string[] = Object.values(pagePaths);

/** Every object in the document, with the path to it. */
function* nodes(value: unknown, path = "#"): Generator<[string, Record<string, unknown>]> {
  if (typeof value !== "object" || value === null) return;
  if (!Array.isArray(value)) yield [path, value as Record<string, unknown>];
  for (const [key, child] of Object.entries(value)) yield* nodes(child, `${path}/${key}`);
}

describe("the OpenAPI document", () => {
  it("is served as JSON", async () => {
    const response = await app.request("/openapi.json");
    expect(await response.json()).toEqual(document);
  });

  it("describes every route that the app has", () => {
    const described = Object.entries<object>(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const served = app.routes
      .filter(({ method, path }) => method !== "ALL" && path !== "/openapi.json" && !pageRoutes.includes(path))
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, "{$1}")}`);
    expect(described.sort()).toEqual(served.sort());
  });

  it("has the parts that OpenAPI 3.1 asks for", () => {
    expect(document.openapi).toBe("3.1.0");
    expect(document.info).toMatchObject({ title: "sparq", version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
    for (const operations of Object.values<Record<string, { summary: string; responses: object }>>(document.paths)) {
      for (const operation of Object.values(operations)) {
        expect(operation.summary).toMatch(/\w/);
        for (const [status, response] of Object.entries<Record<string, unknown>>({ ...operation.responses })) {
          expect(status).toMatch(/^[2-5]\d\d$/);
          expect(response.description).toMatch(/\w/);
        }
      }
    }
  });

  it("refers only to schemas that it has", () => {
    const references = [...nodes(document)].flatMap(([, node]) => (typeof node.$ref === "string" ? [node.$ref] : []));
    expect(references.length).toBeGreaterThan(5);
    for (const reference of references) {
      const target = reference
        .split("/")
        .slice(1)
        .reduce((node, key) => node?.[key], document);
      expect(target, reference).toBeTypeOf("object");
    }
  });

  it("is made from the schemas that check requests", () => {
    const schema = document.components.schemas.CompletionRequest;
    expect(Object.keys(schema.properties).sort()).toEqual(Object.keys(completionRequestSchema.shape).sort());
    expect(schema.required).toEqual(["prompt"]);
    expect(schema.properties.max_tokens).toMatchObject({ type: ["integer", "null"], minimum: 0 });
    expect(document.components.schemas.ChatCompletionRequest.required).toEqual(["messages"]);
  });
});
