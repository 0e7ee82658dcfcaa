import type { Tokenizer } from "../../server/engine/types.ts";

/** A tokenizer whose tokens are given byte strings, pieces of characters among them; special ones by their id. */
export class TableTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosTokenId = undefined;
  readonly info = { tokenizerClass: undefined, namedTokens: {}, chatTemplate: undefined };
  readonly eosTokenIds: readonly number[];
  private readonly table: readonly Uint8Array[];
  private readonly special: ReadonlySet<number>;
  private readonly decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(tokens: readonly (string | Uint8Array)[], options: { eos?: number[]; special?: number[] } = {}) {
    this.table = tokens.map((token) => (typeof token === "string" ? new TextEncoder().encode(token) : token));
    this.vocabSize = tokens.length;
    this.eosTokenIds = options.eos ?? [];
    this.special = new Set([...this.eosTokenIds, ...(options.special ?? [])]);
  }

  /** The longest token that fits, again and again. Throws Error where none does. */
  encode(text: string, options: { parseSpecial?: boolean } = {}): number[] {
    const bytes = new TextEncoder().encode(text);
    const ids: number[] = [];
    for (let at = 0; at < bytes.length; at += this.table[ids.at(-1)!]!.length) {
      const fits = (token: Uint8Array) => token.every((byte, i) => bytes[at + i] === byte);
      const found = [...this.table.keys()]
        .filter((id) => fits(this.table[id]!) && (options.parseSpecial || !this.special.has(id)))
        .sort((a, b) => this.table[b]!.length - this.table[a]!.length);
      if (found[0] === undefined) throw new Error(`no token for byte ${bytes[at]}`);
      ids.push(found[0]);
    }
    return ids;
  }

  decode(ids: readonly number[], options: { skipSpecialTokens?: boolean } = {}): string {
    const visible = ids.filter((id) => !(options.skipSpecialTokens && this.special.has(id)));
    return this.decoder.decode(Buffer.concat(visible.map((id) => this.table[id] ?? new Uint8Array())));
  }

  tokenBytes(id: number): Uint8Array {
    return this.table[id] ?? new Uint8Array();
  }

  specialToken(text: string): number | undefined {
    return [...this.special].find((id) => this.decode([id]) === text);
  }

  applyChatTemplate(): number[] {
    throw new Error("a table has no chat template");
  }
}
