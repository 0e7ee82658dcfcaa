// What grammars cost with a model's vocabulary: node dist/bench/grammar.js [MODEL]. Compiles an object with a number of string
// members, then goes through a text that satisfies it, token by token, on the thread that answers would use.
import { loadModel } from "../models/load.ts";
import { schemaGrammar } from "../server/grammar/json-schema.ts";
import { GrammarService } from "../server/grammar/service.ts";
import { grammarVocabulary } from "../server/grammar/vocabulary.ts";
import { createTokenizer } from "../server/tokenizer.ts";
import { quantile } from "./statistics.ts";

const model = await loadModel(process.argv[2] ?? "tiny-llama", {});
const tokenizer = createTokenizer(model.tokenizer, model.config);
const service = new GrammarService({ vocabulary: () => grammarVocabulary(tokenizer, model.config.vocabSize) });
await service.compile(schemaGrammar({ type: "null" })); // Starts the thread.

for (const members of [5, 100]) {
  const keys = Array.from({ length: members }, (_, i) => `member_${i}`);
  const properties = Object.fromEntries(keys.map((key, i) => [key, { type: i % 2 === 0 ? "string" : "number" }]));
  const value = Object.fromEntries(keys.map((key, i) => [key, i % 2 === 0 ? "some words of text" : -1.25 * i]));
  const started = performance.now();
  const grammar = await service.compile(schemaGrammar({ type: "object", properties, required: keys }));
  const compileMs = performance.now() - started;
  const constraint = grammar.start();
  const times: number[] = [];
  for (const token of tokenizer.encode(JSON.stringify(value), { addSpecialTokens: false })) {
    const asked = performance.now();
    constraint.accept(token);
    await constraint.settled();
    if (constraint.error) throw constraint.error;
    times.push((performance.now() - asked) * 1000);
  }
  constraint.close();
  const [median, high, most] = [0.5, 0.99, 1].map((share) => Math.round(quantile(times, share)));
  const maskBytes = Math.ceil(model.config.vocabSize / 32) * 4;
  console.log(
    JSON.stringify({
      members,
      compileMs: Math.round(compileMs),
      tokens: times.length,
      maskBytes,
      maskUs: { median, p99: high, most },
    }),
  );
}
await service.close();
