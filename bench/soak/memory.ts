import { median } from "../statistics.ts";

export interface MemorySample {
  readonly seconds: number;
  readonly bytes: number;
}

export interface MemoryReport {
  readonly warmMb: number;
  readonly endMb: number;
  /** Of a straight line through what came after the warm-up. */
  readonly slopeMbPerMinute: number;
  /** Null for a run that is too short to tell. */
  readonly level: boolean | null;
}

/** Shares of the run: the warm-up, what is taken as warm after it, and as the end. */
const WARM_UP = 0.25;
const WARM_UNTIL = 0.45;
const END_FROM = 0.8;
/** Growth that allocators and just-in-time compilers explain. */
const SLACK_SHARE = 0.1;
const SLACK_MB = 32;
const SHORTEST_SECONDS = 180;

/** Whether memory grew after the warm-up. Null without samples. */
export function memoryReport(samples: readonly MemorySample[]): MemoryReport | null {
  const total = samples.at(-1)?.seconds ?? 0;
  const between = (from: number, to: number) => {
    return samples.filter(({ seconds }) => seconds >= from * total && seconds <= to * total);
  };
  const [warm, end, settled] = [between(WARM_UP, WARM_UNTIL), between(END_FROM, 1), between(WARM_UP, 1)];
  if (warm.length === 0 || end.length === 0) return null;
  const megabytes = (part: readonly MemorySample[]) => median(part.map(({ bytes }) => bytes)) / 2 ** 20;
  const [warmMb, endMb] = [megabytes(warm), megabytes(end)];
  const grown = endMb - warmMb > Math.max(SLACK_MB, SLACK_SHARE * warmMb);
  return {
    warmMb,
    endMb,
    slopeMbPerMinute: (60 * slope(settled)) / 2 ** 20,
    level: total < SHORTEST_SECONDS ? null : !grown,
  };
}

/** Bytes a second, by least squares. */
function slope(samples: readonly MemorySample[]): number {
  const n = samples.length;
  const meanSeconds = samples.reduce((sum, { seconds }) => sum + seconds, 0) / n;
  const meanBytes = samples.reduce((sum, { bytes }) => sum + bytes, 0) / n;
  const covariance = samples.reduce((sum, s) => sum + (s.seconds - meanSeconds) * (s.bytes - meanBytes), 0);
  const variance = samples.reduce((sum, s) => sum + (s.seconds - meanSeconds) ** 2, 0);
  return variance === 0 ? 0 : covariance / variance;
}
