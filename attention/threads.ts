import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** Where the machine's limits are read from; tests give their own. */
export interface MachineLimits {
  /** Cores that the process may be scheduled on. */
  readonly cores: number;
  /** The text of a file, undefined if it cannot be read. */
  readonly read: (path: string) => string | undefined;
}

const machine: MachineLimits = {
  get cores() {
    return availableParallelism();
  },
  read(path) {
    try {
      return readFileSync(path, "utf8");
    } catch {
      return undefined;
    }
  },
};

/**
 * Threads for a session: what SPARQ_THREADS says, or the container's allowance, which is the lesser of the cores the
 * process may use and its cgroup's CPU quota rounded down (more threads than that would be throttled), at least 1.
 * Throws RangeError for a SPARQ_THREADS that is no positive integer.
 */
export function defaultThreads(environment = process.env, limits: MachineLimits = machine): number {
  const wanted = environment.SPARQ_THREADS;
  if (wanted === undefined || wanted === "") {
    return Math.max(1, Math.min(limits.cores, Math.floor(cpuQuota(limits.read))));
  }
  if (!/^[1-9]\d{0,3}$/.test(wanted)) throw new RangeError(`SPARQ_THREADS must be a positive integer, got "${wanted}"`);
  return Number(wanted);
}

/** CPUs that the cgroup may use, Infinity without a limit. */
function cpuQuota(read: MachineLimits["read"]): number {
  // Version 2: "<quota> <period>" in microseconds, or "max <period>".
  const [quota, period] = (read("/sys/fs/cgroup/cpu.max") ?? versionOne(read)).trim().split(/\s+/).map(Number);
  return quota! > 0 && period! > 0 ? quota! / period! : Number.POSITIVE_INFINITY;
}

/** Version 1 in the form of version 2; its quota is -1 without a limit. */
function versionOne(read: MachineLimits["read"]): string {
  return `${read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")} ${read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")}`;
}
