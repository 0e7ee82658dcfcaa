// The clients of `sparq bench overhead`, in a process of their own: their processor time is not the server's.
import { once } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";

export interface ClientOrder {
  readonly url: string;
  /** One request each, all at the same time. */
  readonly bodies: readonly string[];
}

export interface ClientResult {
  /** Of each request: the events that had choices and text in them, or why there are none. */
  readonly answers: readonly ({ readonly tokens: number } | { readonly error: string })[];
  /** What this process has computed meanwhile. */
  readonly cpuSeconds: number;
}

const agent = new Agent({ keepAlive: true });

/** Events are only counted, when all are there: to parse them would take processor time from the server's threads. */
async function ask(url: string, body: string): Promise<ClientResult["answers"][number]> {
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  const outgoing = request(`${url}/v1/chat/completions`, { method: "POST", agent, headers });
  outgoing.end(body);
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  const parts: Buffer[] = [];
  response.on("data", (part: Buffer) => parts.push(part));
  await once(response, "end");
  const text = Buffer.concat(parts).toString();
  if (response.statusCode !== 200) return { error: `${response.statusCode}: ${text.slice(0, 300)}` };
  if (!text.endsWith("data: [DONE]\n\n")) return { error: `the stream ended with ${text.slice(-300)}` };
  return { tokens: text.split('"delta":{"content":').length - 1 };
}

process.on("message", async ({ url, bodies }: ClientOrder) => {
  const before = process.cpuUsage();
  const answers = await Promise.all(
    bodies.map((body) => ask(url, body).catch((error) => ({ error: (error as Error).message }))),
  );
  const { user, system } = process.cpuUsage(before);
  process.send!({ answers, cpuSeconds: (user + system) / 1e6 } satisfies ClientResult);
});
