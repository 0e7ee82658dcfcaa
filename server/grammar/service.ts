import type { TokenConstraint, TokenGrammar, TokenizedGrammars } from "../engine/types.ts";
import { within } from "../within.ts";
import { GrammarError } from "./errors.ts";
import { GrammarMatcher } from "./matcher.ts";
import type { GrammarWorkerData } from "./messages.ts";
import { GrammarThread } from "./thread.ts";

/** Threads at most: compiling keeps the matchers of its thread waiting, and other threads' not. */
const MAX_THREADS = 3;
/** Grammars kept for the next request that has the same. */
const MOST_KEPT = 64;
/** A thread's memory, which never shrinks. */
const MOST_MEMORY_BYTES = 2 ** 30;
const MOST_COMPILE_SECONDS = 30;

/** A grammar in a thread. */
export interface CompiledGrammar {
  readonly id: number;
  readonly thread: GrammarThread;
  readonly firstMask: Int32Array;
}

export interface GrammarServiceOptions {
  /** Made when the first grammar is asked for. */
  readonly vocabulary: () => GrammarWorkerData;
}

/** Compiles grammars off this thread and keeps those last used. The threads start when they are needed. */
export class GrammarService implements TokenizedGrammars {
  readonly #options: GrammarServiceOptions;
  #vocabulary: GrammarWorkerData | null = null;
  /** By text, the least recently used first. */
  readonly #compiled = new Map<string, Promise<CompiledGrammar>>();
  /** Of each thread, how many matchers are in it. */
  readonly #threads = new Map<GrammarThread, number>();
  #lastId = 0;
  #closed = false;

  constructor(options: GrammarServiceOptions) {
    this.#options = options;
  }

  /** A grammar in EBNF, see ebnf.ts. Rejects with GrammarError if it is too large, and with Error if its thread died of it. */
  async compile(text: string): Promise<TokenGrammar> {
    const { firstMask } = await this.compiled(text);
    return { start: (): TokenConstraint => new GrammarMatcher(this, text, firstMask) };
  }

  /** The grammar where it is now; compiled again if its thread is gone. */
  async compiled(text: string): Promise<CompiledGrammar> {
    if (this.#closed) throw new Error("the grammars are closed");
    const known = this.#compiled.get(text);
    if (known !== undefined) {
      this.#compiled.delete(text);
      this.#compiled.set(text, known);
      const grammar = await known.catch(() => null);
      if (grammar?.thread.alive) return grammar;
      if (this.#compiled.get(text) === known) this.#compiled.delete(text);
      return grammar === null ? known : this.compiled(text);
    }
    const fresh = this.#compile(text, true);
    this.#compiled.set(text, fresh);
    this.#forgetOldest();
    fresh.catch(() => {
      if (this.#compiled.get(text) === fresh) this.#compiled.delete(text);
    });
    return fresh;
  }

  newId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  /** A matcher came into a thread, or left it. Mutates. */
  count(thread: GrammarThread, change: 1 | -1): void {
    const matchers = this.#threads.get(thread);
    if (matchers !== undefined) this.#threads.set(thread, matchers + change);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#threads.keys()].map((thread) => thread.close()));
  }

  async #compile(text: string, mayMove: boolean): Promise<CompiledGrammar> {
    const thread = this.#threadToCompileIn();
    const alone = this.#threads.get(thread) === 0 && ![...this.#compiled.keys()].some((other) => other !== text);
    const id = this.newId();
    const compiling = thread.call({ kind: "compile", grammar: id, text });
    const reply = await within(compiling, MOST_COMPILE_SECONDS * 1000);
    if (reply === "late") {
      await thread.close();
      throw new GrammarError("", `the grammar takes longer than ${MOST_COMPILE_SECONDS} seconds to compile`);
    }
    if (reply.memoryBytes > MOST_MEMORY_BYTES) {
      // Matchers that are in it move on to another when they next need a mask.
      await thread.close();
      if (mayMove && !alone) return this.#compile(text, false);
      throw new GrammarError("", `the grammar takes more than ${MOST_MEMORY_BYTES / 2 ** 20} MB of memory`);
    }
    return { id, thread, firstMask: reply.mask! };
  }

  /** One that nobody waits for; else a new one; else the one with the fewest matchers. */
  #threadToCompileIn(): GrammarThread {
    for (const thread of this.#threads.keys()) if (!thread.alive) this.#threads.delete(thread);
    const byUse = [...this.#threads].sort((a, b) => a[1] - b[1] || a[0].load - b[0].load);
    const [best] = byUse;
    if (best !== undefined && ((best[1] === 0 && best[0].load === 0) || byUse.length >= MAX_THREADS)) return best[0];
    this.#vocabulary ??= this.#options.vocabulary();
    const thread = new GrammarThread(this.#vocabulary);
    this.#threads.set(thread, 0);
    return thread;
  }

  /** Matchers live on without the grammar that they were made of. */
  #forgetOldest(): void {
    for (const [text, grammar] of this.#compiled) {
      if (this.#compiled.size <= MOST_KEPT) return;
      this.#compiled.delete(text);
      grammar.then(({ thread, id }) => thread.call({ kind: "forget", grammar: id })).catch(() => {});
    }
  }
}
