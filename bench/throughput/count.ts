import type { Traffic } from "../../attention/types.ts";
import { MeteredRunner } from "../eval/engines/metered-runner.ts";
import type { Variant } from "../eval/variants.ts";
import { type OfflineOptions, type OfflineRun, runOffline } from "./offline.ts";
import type { Workload } from "./workload.ts";

/** What a variant's answers read of the cache, and what they are: neither depends on what runs at the same time. */
export interface Counted {
  /** Of the rows behind prompts, which are those that variants differ in. */
  readonly traffic: Traffic;
  readonly run: OfflineRun;
}

/**
 * Runs a workload untimed, rows of prompts apart from the others, so that the others' bytes are known. It also warms up: the
 * cache's memory has been written to when the timed runs begin, and their answers must be these.
 */
export async function countTraffic(workload: Workload, variant: Variant, options: OfflineOptions): Promise<Counted> {
  let metered: MeteredRunner | undefined;
  const run = await runOffline(workload, variant, {
    ...options,
    runnerOf: (runner) => {
      metered = new MeteredRunner(runner, () => METER);
      return metered;
    },
  });
  return { traffic: metered!.traffic(METER), run };
}

const METER = "answers";
