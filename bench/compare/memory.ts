export interface MemoryRequest {
  readonly context: number;
  readonly batch: number;
  /** Positions that decoding adds. */
  readonly steps: number;
  /** Of sparq's cache. */
  readonly blockSize: number;
  readonly bytesPerBlock: number;
  /** Of the peer's cache; 0 without a peer. */
  readonly peerBytesPerToken: number;
  /** Of the model file. */
  readonly weightBytes: number;
}

export interface MemoryNeed {
  readonly sparq: number;
  readonly peer: number;
  /** Weights and working memory of both. */
  readonly rest: number;
  readonly total: number;
}

/** llama.cpp rounds a sequence's share of its cache up to this. */
const PEER_PADDING = 256;
/** Activations, logits of a chunk and the runtimes of both sides: 0.5 GB was measured, a model with a larger vocabulary takes more. */
const WORKING_BYTES = 2 ** 30;

/** Bytes that both sides need at once; every sequence has pages of its own on both. */
export function memoryNeed(request: MemoryRequest): MemoryNeed {
  const { context, batch, steps, blockSize, bytesPerBlock, peerBytesPerToken, weightBytes } = request;
  const sparq = (batch * Math.ceil((context + steps) / blockSize) + 1) * bytesPerBlock;
  const peer = batch * Math.ceil((context + steps) / PEER_PADDING) * PEER_PADDING * peerBytesPerToken;
  // Each side holds the weights as the file has them, and once more rearranged.
  const rest = 4 * weightBytes + WORKING_BYTES;
  return { sparq, peer, rest, total: sparq + peer + rest };
}

/** Throws, with the numbers, when the largest of the cells does not fit. */
export function requireMemory(request: MemoryRequest, available: number): void {
  const { sparq, peer, rest, total } = memoryNeed(request);
  if (total <= available) return;
  const parts = [
    `${gigabytes(sparq)} for sparq's cache`,
    `${gigabytes(peer)} for the peer's`,
    `${gigabytes(rest)} for the rest`,
  ];
  throw new Error(
    `context ${request.context} x batch ${request.batch} needs ${gigabytes(total)} of memory (${parts.join(", ")}), ` +
      `${gigabytes(available)} are available: take a smaller --context or --batch`,
  );
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
