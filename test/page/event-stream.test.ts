import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chunksOf, eventData } from "../../server/page/app/event-stream.ts";

async function* pieces(text: string, cuts: readonly number[] = []): AsyncGenerator<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  for (let i = 1; i < places.length; i++) yield bytes.slice(places[i - 1], places[i]);
}

async function read(body: AsyncIterable<Uint8Array>): Promise<string[]> {
  const events: string[] = [];
  for await (const data of eventData(body)) events.push(data);
  return events;
}

describe("eventData", () => {
  it("gives the data of each event, and nothing of comments and other fields", async () => {
    const body = ': ping\n\ndata: {"a":1}\n\nevent: x\nid: 3\ndata: two\ndata:lines\n\ndata\n\ndata: [DONE]\n\n';
    expect(await read(pieces(body))).toEqual(['{"a":1}', "two\nlines", "[DONE]"]);
  });

  it("drops an event that was cut off", async () => {
    expect(await read(pieces("data: whole\n\ndata: ha"))).toEqual(["whole"]);
  });

  it("gives the same wherever the bytes are cut and however lines end", async () => {
    const events = fc.array(fc.string({ unit: "grapheme" }).filter((text) => !/[\r\n]/.test(text)));
    const end = fc.constantFrom("\n", "\r\n", "\r");
    await fc.assert(
      fc.asyncProperty(events, end, fc.array(fc.nat(400)), async (texts, newline, cuts) => {
        const body = texts.map((text) => `data: ${text}${newline}${newline}`).join("");
        // A lone carriage return at the very end may be half of a pair, so that the last event waits for more.
        const tail = newline === "\r" ? ": end\n" : "";
        expect(await read(pieces(body + tail, cuts))).toEqual(texts);
      }),
    );
  });
});

describe("chunksOf", () => {
  it("cancels the stream when its reader leaves", async () => {
    let cancelled = false;
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array([1])),
      cancel: () => {
        cancelled = true;
      },
    });
    for await (const chunk of chunksOf(stream)) {
      expect(chunk).toEqual(new Uint8Array([1]));
      break;
    }
    expect(cancelled).toBe(true);
  });
});
