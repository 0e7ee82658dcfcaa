import { describe, expect, it } from "vitest";
import { type EventStreamOptions, eventStream } from "../../server/sse.ts";
import { gate } from "../support/fake-engine.ts";

const options: EventStreamOptions<object> = {
  chunksOf: (event) => [event],
  pingMs: 60_000,
  onCancel: () => {},
  toErrorBody: (error) => ({ error: { message: String(error), type: "server_error", param: null, code: "c" } }),
};

async function readAll(stream: ReadableStream<Uint8Array>): Promise<string> {
  return new Response(stream).text();
}

describe("event streams", () => {
  it("frame each event as one data line, and end with [DONE]", async () => {
    async function* events() {
      yield { text: "a\n\nb" };
      yield { text: "é" };
    }
    expect(await readAll(eventStream(events(), options))).toBe(
      'data: {"text":"a\\n\\nb"}\n\ndata: {"text":"é"}\n\ndata: [DONE]\n\n',
    );
  });

  it("send an error as an event", async () => {
    async function* events() {
      yield { text: "a" };
      throw new Error("broken");
    }
    const [first, second, done] = (await readAll(eventStream(events(), options))).split("\n\n");
    expect(first).toBe('data: {"text":"a"}');
    expect(JSON.parse(second!.slice("data: ".length))).toMatchObject({ error: { message: "Error: broken" } });
    expect(done).toBe("data: [DONE]");
  });

  it("send comments while nothing comes, and lose no event by it", async () => {
    const later = gate();
    async function* events() {
      await later.opened;
      yield { text: "late" };
    }
    const reader = eventStream(events(), { ...options, pingMs: 1 }).getReader();
    const next = async () => new TextDecoder().decode((await reader.read()).value);
    expect([await next(), await next()]).toEqual([": ping\n\n", ": ping\n\n"]);
    later.open();
    let frame = await next();
    while (frame === ": ping\n\n") frame = await next();
    expect(frame).toBe('data: {"text":"late"}\n\n');
    expect(await next()).toBe("data: [DONE]\n\n");
  });

  it("send an event's chunks in order, go on after one without any, and have chunks behind the last", async () => {
    async function* events() {
      yield* [2, 0, 0, 1];
    }
    const chunksOf = (count: number) => Array.from({ length: count }, (_, i) => ({ i }));
    const lastChunks = () => [{ last: true }];
    const text = await readAll(eventStream(events(), { ...options, chunksOf, lastChunks }));
    const chunks = ['{"i":0}', '{"i":1}', '{"i":0}', '{"last":true}', "[DONE]"];
    expect(text).toBe(chunks.map((chunk) => `data: ${chunk}\n\n`).join(""));
  });

  it("end with an error where a chunk cannot be made, and ask for no more events", async () => {
    let ended = false;
    async function* events() {
      try {
        for (;;) yield {};
      } finally {
        ended = true;
      }
    }
    const chunksOf = () => {
      throw new Error("no chunk");
    };
    const text = await readAll(eventStream(events(), { ...options, chunksOf }));
    expect(text).toMatch(/^data: \{"error":\{"message":"Error: no chunk".*\n\ndata: \[DONE\]\n\n$/);
    expect(ended).toBe(true);
  });

  it("send no comments to a reader who does not read, nor after the end", async () => {
    const later = gate();
    const events = { next: () => later.opened.then(() => ({ done: true as const, value: undefined })) };
    const stream = eventStream(events, { ...options, pingMs: 1 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    later.open();
    expect(await readAll(stream)).toBe(": ping\n\ndata: [DONE]\n\n");
  });

  it("take no more events than are read", async () => {
    let made = 0;
    async function* events() {
      for (;;) yield { made: ++made };
    }
    const reader = eventStream(events(), options).getReader();
    await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(made).toBeLessThanOrEqual(2);
    await reader.cancel();
  });

  it("tell of a reader who leaves, and end the events", async () => {
    const never = gate();
    let left = false;
    let ended = false;
    async function* events() {
      try {
        yield { a: 1 };
        await never.opened;
        yield { a: 2 };
      } finally {
        ended = true;
      }
    }
    const onCancel = () => {
      left = true;
      never.open();
    };
    const reader = eventStream(events(), { ...options, onCancel }).getReader();
    await reader.read();
    await reader.cancel();
    expect(left).toBe(true);
    await expect.poll(() => ended).toBe(true);
  });
});
