import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { StartedServer } from "../../server/start.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { serve, servingOf } from "../support/serving.ts";

let server: StartedServer;
beforeAll(async () => {
  server = await serve(servingOf(new FakeEngine(() => ["fine"])), { maxBodyMb: 1 });
  await server.ready;
});
afterAll(() => server.close());

/** Sends bytes as they are, then leaves if told so, and gives all that comes back until the server ends the connection. */
async function exchange(head: readonly string[], body: string, leave = false): Promise<string> {
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  const request = ["POST /v1/completions HTTP/1.1", "host: test", "connection: close", ...head, "", body].join("\r\n");
  socket.write(request);
  if (leave) socket.end();
  let text = "";
  for await (const part of socket) text += String(part);
  return text;
}

const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);
const body = '{"prompt":"a"}';
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;

/** Whatever was sent, the next client is served. */
async function expectAlive() {
  expect(statusOf(await exchange([`content-length: ${body.length}`], body))).toBe(200);
}

describe("a body", () => {
  it("that goes on after its Content-Length is cut there, and the rest is no second request", async () => {
    const answer = await exchange([`content-length: ${body.length}`], `${body}, "n": 2}`);
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(statusOf(answer)).toBe(400);
    const cut = await exchange(["content-length: 5"], body.slice(0, 5));
    expect(statusOf(cut)).toBe(400);
    expect(cut).toMatch(/"code":"invalid_json"/);
    await expectAlive();
  });

  it("that ends before its Content-Length takes nobody down", async () => {
    const answer = await exchange(["content-length: 1000"], body, true);
    expect([400, Number.NaN]).toContain(statusOf(answer));
    await expectAlive();
  });

  it("that says it is over the limit is refused, however little comes", async () => {
    const large = "x".repeat(2 ** 20 + 1);
    const answer = await exchange([`content-length: ${large.length}`], large);
    expect(statusOf(answer)).toBe(413);
    expect(answer).toMatch(/"code":"body_too_large"/);
    await expectAlive();
  });

  it("in chunks is taken, also one byte each, and counted by what comes", async () => {
    const head = ["transfer-encoding: chunked"];
    expect(statusOf(await exchange(head, `${[...body].map(chunk).join("")}0\r\n\r\n`))).toBe(200);
    const large = chunk("x".repeat(2 ** 18)).repeat(5);
    expect(statusOf(await exchange(head, `${large}0\r\n\r\n`))).toBe(413);
    expect(statusOf(await exchange(head, "zz\r\n"))).toBe(400);
    await expectAlive();
  });

  it("with two lengths is refused: a proxy may have read the other one", async () => {
    const both = ["transfer-encoding: chunked", `content-length: ${body.length}`];
    expect(statusOf(await exchange(both, `${chunk(body)}0\r\n\r\n`))).toBe(400);
    expect(statusOf(await exchange(["content-length: 5", "content-length: 14"], body))).toBe(400);
    expect(statusOf(await exchange(["content-length: -1"], body))).toBe(400);
    await expectAlive();
  });
});
