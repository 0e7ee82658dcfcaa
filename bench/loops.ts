/** How often a served model falls into a loop: node dist/bench/loops.js --url http://127.0.0.1:8000 --n 192 [--control FILE] */
import { readFileSync } from "node:fs";
import { Command } from "commander";

/** A sample loops when some phrase of this many words stands in it at least `TIMES` times. */
const PHRASE = 4;
const TIMES = 3;
const prompts = ["\n", "It was", "ROMEO:\n", "Elizabeth was", "My lord,", "The king", "Alice said", "She had"];

const options = new Command()
  .description(`Share of samples with a phrase of ${PHRASE} words ${TIMES} times or more; seeds 0 to n - 1`)
  .option("--url <address>", "a running server", "http://127.0.0.1:8000")
  .option("--n <samples>", "samples", "192")
  .option("--max-tokens <n>", "tokens of a sample", "200")
  .option("--temperature <t>", "temperature", "0.8")
  .option("--control <file>", "the same share of passages of this text, as long as the samples")
  .parse()
  .opts<{ url: string; n: string; maxTokens: string; temperature: string; control?: string }>();

const samples: string[][] = [];
for (let seed = 0; seed < Number(options.n); seed++) samples.push(wordsOf(await sample(seed)));
report("model", samples);
if (options.control !== undefined) report("control", passages(wordsOf(readFileSync(options.control, "utf8")), samples));

async function sample(seed: number): Promise<string> {
  const body = {
    prompt: prompts[seed % prompts.length],
    max_tokens: Number(options.maxTokens),
    temperature: Number(options.temperature),
    seed,
    ignore_eos: true,
  };
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${options.url}/v1/completions`, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${options.url} answered ${response.status}: ${await response.text()}`);
  const { choices } = (await response.json()) as { choices: { text: string }[] };
  return choices[0]!.text;
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[a-z]+/g) ?? [];
}

/** Passages spread evenly over the text, ten for each sample and of its length. */
function passages(text: readonly string[], like: readonly string[][]): string[][] {
  const count = 10 * like.length;
  return Array.from({ length: count }, (_, i) => {
    const { length } = like[i % like.length]!;
    const start = Math.floor((i / count) * (text.length - length));
    return text.slice(start, start + length);
  });
}

function mostRepeated(words: readonly string[]): { phrase: string; times: number } {
  const counts = new Map<string, number>();
  let most = { phrase: "", times: 0 };
  for (let i = 0; i + PHRASE <= words.length; i++) {
    const phrase = words.slice(i, i + PHRASE).join(" ");
    const times = (counts.get(phrase) ?? 0) + 1;
    counts.set(phrase, times);
    if (times > most.times) most = { phrase, times };
  }
  return most;
}

function report(name: string, all: readonly string[][]): void {
  const found = all.map(mostRepeated).filter(({ times }) => times >= TIMES);
  const share = found.length / all.length;
  const error = Math.sqrt((share * (1 - share)) / all.length);
  console.log(`${name}: ${found.length} of ${all.length}, ${(100 * share).toFixed(1)} ± ${(100 * error).toFixed(1)} %`);
  if (name === "model") for (const { phrase, times } of found) console.log(`  ${times} times: ${phrase}`);
}
