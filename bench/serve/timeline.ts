/** Why a request has no sound answer: a kind, by which failures are counted, and the particulars. */
export interface Fault {
  readonly kind: string;
  readonly detail: string;
}

/** What a client saw of one request. Times in milliseconds since the load began. */
export interface Timeline {
  /** When it was to be sent, and when it was: later with too few places, or if the client was busy. */
  readonly due: number;
  readonly sent: number;
  /** When its answer was over, or given up. */
  readonly ended: number;
  /** When the bytes arrived that brought each event with a choice; the last of them often have no text. */
  readonly chunks: readonly number[];
  /** Events with text, and how much of it. */
  readonly deltas: number;
  readonly characters: number;
  readonly finishReason: string | null;
  /** Whether [DONE] came. */
  readonly done: boolean;
  /** By the answer's usage; null if it has none. */
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
  /** Of the prompt's tokens, those that the server says it had cached. */
  readonly cachedTokens: number | null;
  /** Whether it was sent a second time, on a new connection: the kept one was closed before anything was answered. */
  readonly resent: boolean;
  /** What broke the answer off. */
  readonly fault: Fault | null;
}

/** What is sent, and when. */
export interface LoadOrder {
  /** Of the endpoint. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly requests: readonly { readonly body: string; readonly due: number }[];
  /** Requests under way at most; null: no limit. */
  readonly concurrency: number | null;
  readonly timeoutMs: number;
}

export interface LoadResult {
  /** In the order of the requests. */
  readonly timelines: readonly Timeline[];
  readonly client: ClientHealth;
}

/** Whether the client was awake to see bytes when they came. */
export interface ClientHealth {
  /** How late its event loop came to what was due, milliseconds. */
  readonly lagMean: number;
  readonly lagP99: number;
  readonly lagMax: number;
  readonly cpuSeconds: number;
}

/** From the process that sends to the one that ordered it. */
export type ClientMessage =
  | { readonly kind: "progress"; readonly ended: number }
  | { readonly kind: "result"; readonly result: LoadResult };
