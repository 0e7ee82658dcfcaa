import type { Timeline } from "../../../bench/serve/timeline.ts";

/** A sound answer of three tokens; what is given is otherwise. */
export function timeline(given: Partial<Timeline> = {}): Timeline {
  return {
    ...{ due: 0, sent: 0, ended: 50, chunks: [10, 20, 40, 41], deltas: 3, characters: 12 },
    ...{ finishReason: "length", done: true, promptTokens: 5, completionTokens: 3, cachedTokens: null, fault: null },
    resent: false,
    ...given,
  };
}

export const idleClient = { lagMean: 0, lagP99: 0, lagMax: 0, cpuSeconds: 0 };
