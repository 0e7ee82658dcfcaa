/** Lower case, without punctuation, articles and superfluous space: how SQuAD's own script compares answers. */
export function normalise(text: string): string {
  const words = text
    .toLowerCase()
    .replace(/[\p{P}\p{S}]/gu, "")
    .split(/\s+/);
  return words.filter((word) => word !== "" && !["a", "an", "the"].includes(word)).join(" ");
}

/** Whether an answer, normalised, is a prefix of the output, normalised. An answer of which nothing is left never is. */
export function matches(output: string, answers: readonly string[]): boolean {
  const said = normalise(output);
  return answers.map(normalise).some((answer) => answer !== "" && said.startsWith(answer));
}

/**
 * Whether `matches` can no longer change however the output goes on. The last word may still grow, so that it does not
 * count.
 */
export function isSettled(output: string, answers: readonly string[]): boolean {
  const said = normalise(output.slice(0, output.search(/\S*$/)));
  const wanted = answers.map(normalise).filter((answer) => answer !== "");
  return wanted.some((answer) => said.startsWith(answer)) || !wanted.some((answer) => isAhead(said, answer));
}

/** Whether an answer may still come of whole words that were said. */
function isAhead(said: string, answer: string): boolean {
  return said === "" || answer.startsWith(`${said} `);
}
