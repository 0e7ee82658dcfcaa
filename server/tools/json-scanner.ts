/**
 * Follows one JSON value through text that comes in pieces: finds where it ends, and no more. What is broken ends at the
 * first character that cannot belong to any value.
 */
export class JsonScanner {
  #depth = 0;
  #inString = false;
  #escaped = false;
  #begun = false;
  #bare = false;

  /** How many leading UTF-16 units of `text` belong to the value, and whether it ended with them. Mutates. */
  take(text: string): { length: number; ended: boolean } {
    for (let i = 0; i < text.length; i++) {
      const character = text[i] as string;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (character === "\\") this.#escaped = true;
        else if (character === '"') {
          this.#inString = false;
          if (this.#depth === 0) return { length: i + 1, ended: true };
        }
      } else if (this.#bare && /[\s,}\]]/.test(character)) {
        return { length: i, ended: true };
      } else if (character === '"') {
        this.#inString = true;
        this.#begun = true;
      } else if (character === "{" || character === "[") {
        this.#depth += 1;
        this.#begun = true;
      } else if (character === "}" || character === "]") {
        if (this.#depth === 0) return { length: i, ended: true };
        this.#depth -= 1;
        if (this.#depth === 0) return { length: i + 1, ended: true };
      } else if (!this.#begun && /\S/.test(character)) {
        this.#begun = true;
        this.#bare = true;
      }
    }
    return { length: text.length, ended: false };
  }
}
