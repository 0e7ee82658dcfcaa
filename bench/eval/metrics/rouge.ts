/** Lower-case words and numbers, all else being a gap: the tokens of the rouge_score package, without stemming. */
export function rougeTokens(text: string): string[] {
  return text.toLowerCase().match(/[a-z0-9]+/g) ?? [];
}

/**
 * ROUGE-L: F1 of the longest common subsequence of tokens (Lin, 2004), in 0..1. 0 if either text has none.
 */
export function rougeL(output: string, reference: string): number {
  const [a, b] = [rougeTokens(output), rougeTokens(reference)];
  const common = commonLength(a, b);
  if (common === 0) return 0;
  const [precision, recall] = [common / a.length, common / b.length];
  return (2 * precision * recall) / (precision + recall);
}

function commonLength(a: readonly string[], b: readonly string[]): number {
  let row = new Array<number>(b.length + 1).fill(0);
  for (const word of a) {
    const next = [0];
    for (const [j, other] of b.entries()) {
      next.push(word === other ? row[j]! + 1 : Math.max(row[j + 1]!, next[j]!));
    }
    row = next;
  }
  return row.at(-1)!;
}
