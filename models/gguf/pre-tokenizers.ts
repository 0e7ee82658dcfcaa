/**
 * How text is cut into the pieces within which a byte-level tokenizer merges, by `tokenizer.ggml.pre`. Patterns are those
 * of the models' own tokenizer.json files; each cuts what those before it left.
 */
export interface PreTokenizer {
  readonly patterns: readonly string[];
  /** Unicode's composed form first. GGUF does not say so; the models' own files do. */
  readonly composes?: boolean;
  /** A piece that is a token needs no merges that make it. */
  readonly ignoresMerges?: boolean;
  /** Whether a text begins with BOS where `tokenizer.ggml.add_bos_token` is absent. */
  readonly addsBos?: boolean;
}

/** Words with their leading space, numbers, other signs, runs of spaces. */
const gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** The later form: endings in capitals too, one sign before a word, line ends by themselves. */
const lineAware = (digits: string) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|` +
  "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Capitals begin a word, small letters end it. */
const upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
const caseAware =
  `[^\\r\\n\\p{L}\\p{N}]?${upper}*${lower}+|[^\\r\\n\\p{L}\\p{N}]?${upper}+${lower}*|` +
  "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const neox: PreTokenizer = { patterns: [gpt2], composes: true };
const llama3: PreTokenizer = { patterns: [lineAware("\\p{N}{1,3}")], ignoresMerges: true, addsBos: true };
const qwen2: PreTokenizer = { patterns: [lineAware("\\p{N}")], composes: true };

export const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  "gpt-2": { patterns: [gpt2] },
  "phi-2": { patterns: [gpt2] },
  // GPT-NeoX's, Pythia's and MPT's too: llama.cpp's converter knows a tokenizer by its ids for one text, and theirs are equal.
  olmo: neox,
  mpt: neox,
  smollm: { patterns: ["\\p{N}", gpt2] },
  starcoder: { patterns: ["\\p{N}", gpt2] },
  "llama-bpe": llama3,
  llama3,
  "llama-v3": llama3,
  qwen2,
  "deepseek-r1-qwen": qwen2,
  tekken: { patterns: [caseAware], ignoresMerges: true, addsBos: true },
  // No model's own: llama.cpp's choice where a converter knew none.
  default: {
    patterns: ["[\\p{P}\\$\\+<=>\\^~\\|]+", gpt2, "\\p{N}+", "[0-9][0-9][0-9]"],
  },
};

/** The pre-tokenizer as tokenizer.json has it: patterns, then bytes as characters. */
export function preTokenizerJson({ patterns }: PreTokenizer): object {
  const splits = patterns.map((pattern) => {
    return { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
  });
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return { type: "Sequence", pretokenizers: [...splits, bytes] };
}
