import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Hub } from "../../models/pull/request.ts";

/** A request that the hub, or the other host that it redirects to, has got. */
export interface SeenRequest {
  readonly host: "hub" | "elsewhere";
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** Answers a request for a file in the hub's place; returns false to leave it to the hub. */
export type Trick = (request: SeenRequest, response: ServerResponse, content: Buffer) => boolean;

/** What large files are: git knows the sum of others, LFS of these. */
const LFS = /\.(safetensors|gguf|onnx|onnx_data)$/;

/** A hub of one repository, in this process: lists files, serves ranges of them, and misbehaves as it is told. */
export class FakeHub {
  readonly seen: SeenRequest[] = [];
  readonly files = new Map<string, Buffer>();
  commit = "a".repeat(40);
  /** LFS files lie on another host. */
  redirects = false;
  trick: Trick = () => false;
  /** Changes what the hub says about its files. */
  edit: (answer: { sha: unknown; siblings: Record<string, unknown>[] }) => unknown = (answer) => answer;
  readonly #servers: Server[] = [];
  #addresses: { hub: string; elsewhere: string } = { hub: "", elsewhere: "" };

  async start(): Promise<void> {
    const [hub, elsewhere] = await Promise.all([this.#listen("hub"), this.#listen("elsewhere")]);
    this.#addresses = { hub: hub!, elsewhere: elsewhere! };
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  get endpoint(): string {
    return this.#addresses.hub;
  }

  get elsewhere(): string {
    return this.#addresses.elsewhere;
  }

  /** To be pulled from without pauses. */
  client(token?: string): Hub & { waits: number[] } {
    const waits: number[] = [];
    return { endpoint: this.endpoint, token, waits, wait: async (milliseconds) => void waits.push(milliseconds) };
  }

  /** Requests for a file's content. */
  requestsFor(path: string): SeenRequest[] {
    return this.seen.filter((request) => request.path.endsWith(`/${path}`) && !request.path.startsWith("/api"));
  }

  async #listen(host: "hub" | "elsewhere"): Promise<string> {
    const server = createServer((request, response) => this.#answer(host, request, response));
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  #answer(host: "hub" | "elsewhere", request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(request.url ?? "");
    const seen = { host, path, range: request.headers.range, authorization: request.headers.authorization };
    this.seen.push(seen);
    const file = path.slice(path.indexOf(this.commit) + this.commit.length + 1);
    const content = this.files.get(file) ?? Buffer.alloc(0);
    if (this.trick(seen, response, content)) return;
    if (path.startsWith("/api/models/org/model/revision/")) {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(this.edit({ sha: this.commit, siblings: this.#siblings() })));
    } else if (!path.startsWith(`/org/model/resolve/${this.commit}/`) || !this.files.has(file)) {
      response.writeHead(404, { "x-error-message": "Entry not found" }).end();
    } else if (this.redirects && host === "hub" && LFS.test(file)) {
      response.writeHead(302, { location: `${this.elsewhere}${request.url}` }).end();
    } else {
      sendRange(response, content, seen.range);
    }
  }

  #siblings(): Record<string, unknown>[] {
    return [...this.files].map(([rfilename, content]) => {
      const blobId = createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
      const sha256 = createHash("sha256").update(content).digest("hex");
      const lfs = LFS.test(rfilename) ? { lfs: { sha256, size: content.length, pointerSize: 130 } } : {};
      return { rfilename, size: content.length, blobId, ...lfs };
    });
  }
}

/** `content`, or the end of it that a range like "bytes=5-" asks for. */
function sendRange(response: ServerResponse, content: Buffer, range: string | undefined): void {
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  if (from > 0 && from >= content.length) {
    response.writeHead(416, { "content-range": `bytes */${content.length}` }).end();
    return;
  }
  const headers = { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` };
  response.writeHead(range ? 206 : 200, { "content-length": content.length - from, ...(range ? headers : {}) });
  response.end(content.subarray(from));
}

/** Sends the beginning of what was asked for, then cuts the connection. */
export function cutAfter(response: ServerResponse, content: Buffer, range: string | undefined, bytes: number): void {
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  const headers = { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` };
  response.writeHead(range ? 206 : 200, { "content-length": content.length - from, ...(range ? headers : {}) });
  response.write(content.subarray(from, from + bytes), () => response.destroy());
}
