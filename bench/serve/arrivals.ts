import { randomGamma } from "d3-random";
import type { Random } from "../soak/random.ts";

/**
 * When requests come, in milliseconds, ascending. Intervals are drawn from a gamma distribution of shape `burstiness` and mean
 * 1 / `rate` seconds: their coefficient of variation is 1 / sqrt(burstiness), 1 of a Poisson process, 0 of a burstiness of
 * Infinity. They are stretched so that the last request comes at `n` / `rate` seconds whatever was drawn, as vllm bench serve does
 * it. A rate of Infinity: all at 0. Mutates `random`.
 */
export function arrivals(n: number, rate: number, burstiness: number, random: Random): number[] {
  if (rate === Number.POSITIVE_INFINITY) return new Array<number>(n).fill(0);
  const draw = burstiness === Number.POSITIVE_INFINITY ? () => 1 : randomGamma.source(() => random.next())(burstiness);
  let sum = 0;
  const drawn = Array.from({ length: n }, () => {
    sum += draw();
    return sum;
  });
  const total = (1000 * n) / rate;
  return drawn.map((time) => (time / sum) * total);
}
