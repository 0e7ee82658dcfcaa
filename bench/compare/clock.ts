import { setTimeout as sleep } from "node:timers/promises";
import type { CliIo } from "../../server/cli/io.ts";
import { type Progress, progressLine } from "../../server/cli/progress.ts";
import type { System } from "./system.ts";

/** Idle threads spin for some milliseconds before they sleep. */
const SETTLE_MS = 200;
/** More than this, in cores, and the sides that rest disturb the one that is timed. */
const MOST_IDLE_CORES = 0.05;

/** Lets one side compute while the others rest, watches that they do, and shows how far everything is. */
export class Clock {
  readonly systems: readonly System[];
  /** Most that the sides at rest computed, in cores. */
  idleCores = 0;
  private readonly io: CliIo;
  private readonly progress: Progress;
  private readonly total: number;
  private readonly settleMs: number;
  private done = 0;
  private current: System | undefined;

  /** `total`: how often a side will be let compute. `settleMs`: what another side waits before it is. */
  constructor(systems: readonly System[], total: number, io: CliIo, settleMs = SETTLE_MS) {
    this.settleMs = settleMs;
    this.systems = systems;
    this.total = total;
    this.io = io;
    this.progress = progressLine(io);
  }

  async alone<T>(system: System, work: () => Promise<T>, what: string): Promise<T> {
    this.io.stop.throwIfAborted();
    this.progress.update(this.done, this.total, what);
    if (this.current !== system) await sleep(this.settleMs);
    this.current = system;
    const resting = this.systems.filter((other) => other !== system);
    const before = await inTurn(resting, (other) => other.cpuSeconds());
    const started = performance.now();
    const result = await work();
    const seconds = (performance.now() - started) / 1000;
    const after = await inTurn(resting, (other) => other.cpuSeconds());
    const used = after.reduce((sum, value, i) => sum + value - before[i]!, 0) / seconds;
    if (used > Math.max(MOST_IDLE_CORES, this.idleCores)) {
      this.say(`warning: while ${system.name} was timed, the others computed on ${used.toFixed(2)} cores`);
    }
    this.idleCores = Math.max(this.idleCores, used);
    this.skip(1);
    return result;
  }

  /** So many times are not to come. */
  skip(times: number): void {
    this.done += times;
  }

  /** A line beside the progress. */
  say(text: string): void {
    this.progress.end();
    this.io.err(`${text}\n`);
  }

  end(): void {
    this.progress.end();
  }
}

/** Calls of systems never overlap. */
export async function inTurn<S, T>(systems: readonly S[], work: (system: S) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (const system of systems) results.push(await work(system));
  return results;
}
