import { Agent, type ClientRequest, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as AgentTls, request as requestHttps } from "node:https";
import { StringDecoder } from "node:string_decoder";
import type { Fault, Timeline } from "../timeline.ts";
import { Answer } from "./answer.ts";

export interface Question {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly timeoutMs: number;
}

/** Milliseconds of any clock that never goes back. */
export type Clock = () => number;

/** Connections are kept and used again; there are as many as requests under way. */
const agents = { "http:": new Agent({ keepAlive: true }), "https:": new AgentTls({ keepAlive: true }) };
/** Of an answer that is no stream, so much is read. */
const MOST_OF_A_REFUSAL = 4096;

/** Asks once and follows the stream to its end. Never rejects: what goes wrong is the timeline's fault. */
export function ask(question: Question, now: Clock): Promise<Omit<Timeline, "due">> {
  const sent = now();
  const answer = new Answer();
  return new Promise((resolve) => {
    let current: ClientRequest | undefined;
    let resent = false;
    const end = (fault: Fault | null) => {
      clearTimeout(late);
      answer.fault ??= fault;
      resolve({ sent, ended: now(), resent, ...answer.parts() });
    };
    const late = setTimeout(() => {
      end({ kind: "timeout", detail: `no end after ${question.timeoutMs / 1000} s` });
      current?.destroy();
    }, question.timeoutMs);
    const send = () => {
      const request = open(question);
      current = request;
      let response: IncomingMessage | undefined;
      request.on("response", (arrived) => {
        response = arrived;
        follow(arrived, answer, now, end);
      });
      request.on("error", (error: NodeJS.ErrnoException) => {
        if (response !== undefined) return; // The response says it as well.
        // The server was closing the connection while the request was on its way: clients try again.
        if (request.reusedSocket && error.code === "ECONNRESET" && !resent) {
          resent = true;
          send();
        } else end({ kind: connected(error) ? "connection closed" : "no connection", detail: error.message });
      });
      request.end(question.body);
    };
    send();
  });
}

function open({ url, headers, body }: Question): ClientRequest {
  const target = new URL(url);
  const tls = target.protocol === "https:";
  const all = { "content-type": "application/json", accept: "text/event-stream", ...headers };
  return (tls ? requestHttps : requestHttp)(target, {
    method: "POST",
    agent: tls ? agents["https:"] : agents["http:"],
    headers: { ...all, "content-length": Buffer.byteLength(body) },
  });
}

function follow(response: IncomingMessage, answer: Answer, now: Clock, end: (fault: Fault | null) => void): void {
  const { statusCode, headers } = response;
  const streams = statusCode === 200 && /^text\/event-stream\b/i.test(headers["content-type"] ?? "");
  const decoder = new StringDecoder("utf8");
  let refusal = "";
  response.on("data", (bytes: Buffer) => {
    const arrived = now();
    const text = decoder.write(bytes);
    if (streams) answer.feed(text, arrived);
    else if (refusal.length < MOST_OF_A_REFUSAL) refusal += text;
  });
  response.on("end", () => {
    if (streams) answer.end();
    if (streams) end(null);
    else if (statusCode === 200)
      end({ kind: "no stream", detail: `${headers["content-type"]}: ${refusal.slice(0, 300)}` });
    else end({ kind: `HTTP ${statusCode}`, detail: refusal.slice(0, 300) });
  });
  // After the end these change nothing.
  response.on("error", (error) => end({ kind: "connection closed", detail: error.message }));
  response.on("close", () => end({ kind: "connection closed", detail: "before the answer's end" }));
}

/** Whether there was a server. */
function connected({ code }: NodeJS.ErrnoException): boolean {
  return code === "ECONNRESET" || code === "EPIPE" || code?.startsWith("HPE_") === true;
}
