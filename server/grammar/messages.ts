/** What a grammar thread makes its vocabulary of: token i's bytes, written in the alphabet of byte-level BPE. */
export interface GrammarWorkerData {
  /** "" for tokens that no grammar allows: special ones, and ids without a token. */
  readonly vocabulary: readonly string[];
  readonly endTokenIds: readonly number[];
}

export type GrammarRequest =
  /** Answered with the mask of the first token. */
  | { readonly kind: "compile"; readonly grammar: number; readonly text: string }
  /** Begins a matcher after these tokens; answered with the mask of the next. */
  | {
      readonly kind: "start";
      readonly grammar: number;
      readonly matcher: number;
      readonly tokens: readonly number[];
    }
  | { readonly kind: "accept"; readonly matcher: number; readonly token: number }
  | { readonly kind: "drop"; readonly matcher: number }
  | { readonly kind: "forget"; readonly grammar: number };

/** One for each request, in order. */
export type GrammarReply =
  | { readonly mask: Int32Array | null; readonly memoryBytes: number }
  /** The thread goes on. */
  | { readonly error: string };
