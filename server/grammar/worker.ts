import { parentPort, workerData } from "node:worker_threads";
import type * as XGrammar from "@mlc-ai/web-xgrammar";
import type { GrammarReply, GrammarRequest, GrammarWorkerData } from "./messages.ts";

/**
 * The thread that xgrammar lives in: compiling takes it up to seconds, and what it does not understand aborts it for good.
 * An abort ends the thread; who is waiting for it hears of that.
 */

/** The package says that it is an ES module, but is a script that looks for its place as in a browser and sets a global. */
async function load(): Promise<typeof XGrammar> {
  const scope = globalThis as unknown as { location?: { href: string }; xgrammar?: typeof XGrammar };
  scope.location ??= { href: import.meta.resolve("@mlc-ai/web-xgrammar") };
  await import("@mlc-ai/web-xgrammar");
  if (scope.xgrammar === undefined) throw new Error("@mlc-ai/web-xgrammar did not set its global");
  return scope.xgrammar;
}

const { vocabulary, endTokenIds } = workerData as GrammarWorkerData;
const xgrammar = await load();
const tokens = await xgrammar.TokenizerInfo.createTokenizerInfo(
  [...vocabulary],
  "byte_level",
  false,
  vocabulary.length,
  [...endTokenIds],
);
const compiler = await xgrammar.GrammarCompiler.createGrammarCompiler(tokens, false);
const grammars = new Map<number, XGrammar.CompiledGrammar>();
const matchers = new Map<number, XGrammar.GrammarMatcher>();

async function answer(request: GrammarRequest): Promise<GrammarReply> {
  const reply = (mask: Int32Array | null) => ({ mask, memoryBytes: process.memoryUsage().external });
  switch (request.kind) {
    case "compile": {
      const grammar = await compiler.compileGrammar(request.text);
      grammars.set(request.grammar, grammar);
      const matcher = await xgrammar.GrammarMatcher.createGrammarMatcher(grammar);
      const mask = await matcher.getNextTokenBitmask();
      matcher.dispose();
      return reply(mask);
    }
    case "start": {
      const matcher = await xgrammar.GrammarMatcher.createGrammarMatcher(grammars.get(request.grammar)!);
      matchers.set(request.matcher, matcher);
      for (const token of request.tokens) if (!matcher.acceptToken(token)) return refused(token);
      return reply(await matcher.getNextTokenBitmask());
    }
    case "accept": {
      const matcher = matchers.get(request.matcher)!;
      if (!matcher.acceptToken(request.token)) return refused(request.token);
      return reply(await matcher.getNextTokenBitmask());
    }
    case "drop":
      matchers.get(request.matcher)?.dispose();
      matchers.delete(request.matcher);
      return reply(null);
    case "forget":
      grammars.get(request.grammar)?.dispose();
      grammars.delete(request.grammar);
      return reply(null);
  }
}

function refused(token: number): GrammarReply {
  return { error: `the grammar does not allow token ${token} here` };
}

// One after the other, though the library's calls are promises.
let last = Promise.resolve();
parentPort?.on("message", (request: GrammarRequest) => {
  last = last.then(async () => {
    const reply = await answer(request);
    parentPort?.postMessage(reply, "mask" in reply && reply.mask ? [reply.mask.buffer as ArrayBuffer] : []);
  });
});
