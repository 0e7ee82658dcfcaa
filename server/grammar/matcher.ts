import type { TokenConstraint } from "../engine/types.ts";
import type { GrammarService } from "./service.ts";
import type { GrammarThread } from "./thread.ts";

/**
 * One generation's place in a grammar. The mask of the next token is made in a thread as soon as a token is accepted. It
 * knows all its tokens, so that it can begin anew in another thread if its own dies.
 */
export class GrammarMatcher implements TokenConstraint {
  mask: Int32Array | null;
  error: Error | null = null;
  readonly #service: GrammarService;
  readonly #text: string;
  readonly #id: number;
  readonly #tokens: number[] = [];
  #thread: GrammarThread | null = null;
  #settled: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(service: GrammarService, text: string, firstMask: Int32Array) {
    this.#service = service;
    this.#text = text;
    this.#id = service.newId();
    this.mask = firstMask;
  }

  accept(tokenId: number): void {
    this.#tokens.push(tokenId);
    this.mask = null;
    this.#settled = this.#next(tokenId, 1).then(
      (mask) => {
        this.mask = mask;
      },
      (error: Error) => {
        this.error = error;
      },
    );
  }

  settled(): Promise<void> {
    return this.#settled;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#settled.then(() => this.#leave()).catch(() => {});
  }

  async #next(token: number, retries: number): Promise<Int32Array> {
    const here = this.#thread;
    try {
      if (here?.alive) return (await here.call({ kind: "accept", matcher: this.#id, token })).mask!;
      return await this.#begin();
    } catch (error) {
      // A thread may die of its other work; what this grammar does to a fresh one is its own fault.
      if (this.#thread?.alive || retries === 0) throw error;
      return this.#next(token, retries - 1);
    }
  }

  async #begin(): Promise<Int32Array> {
    const { id, thread } = await this.#service.compiled(this.#text);
    if (this.#thread !== null) this.#service.count(this.#thread, -1);
    this.#thread = thread;
    this.#service.count(thread, 1);
    const reply = await thread.call({ kind: "start", grammar: id, matcher: this.#id, tokens: this.#tokens });
    return reply.mask!;
  }

  async #leave(): Promise<void> {
    const thread = this.#thread;
    if (thread === null) return;
    this.#service.count(thread, -1);
    if (thread.alive) await thread.call({ kind: "drop", matcher: this.#id });
  }
}
