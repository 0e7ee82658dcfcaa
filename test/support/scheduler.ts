import type { AttentionSettings } from "../../attention/types.ts";
import { CacheManager, type CacheOptions } from "../../kvcache/cache-manager.ts";
import { Scheduler } from "../../server/engine/scheduler.ts";
import type { SchedulerSettings } from "../../server/engine/scheduler-types.ts";
import type { SequenceRequest } from "../../server/engine/sequence.ts";
import type { PlannedSequence, StepPlan } from "../../server/engine/types.ts";

export const attention: AttentionSettings = {
  mode: "sparq",
  r: 8,
  k: 16,
  local: 4,
  meanValue: true,
  groupSum: "softmax",
};

export const unlimited = { slowdown: Number.POSITIVE_INFINITY, floor: 1 };

export const range = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i);

export function setUp(cache: Partial<CacheOptions> = {}, settings: Partial<SchedulerSettings> = {}) {
  const manager = new CacheManager({ blocks: 100, blockSize: 4, watermark: 0, ...cache });
  const scheduler = new Scheduler(manager, {
    maxRows: 16,
    maxRunning: 4,
    maxScoredRows: 3,
    prefill: unlimited,
    ...settings,
  });
  const add = (id: string, promptIds: number[], maxNewTokens = 8, more: Partial<SequenceRequest> = {}) =>
    scheduler.add({ id, promptIds, maxNewTokens, attention, ...more });
  /** Commits a plan with token 7 for all who want one, after `right` tokens of its draft; `finished` end with it. */
  const commit = (plan: StepPlan, finished: string[] = [], right = 0) => {
    const wanting = plan.sequences.filter((s) => wantsToken(s, scheduler));
    scheduler.commit(
      wanting.map(({ requestId, draft = [] }) => {
        return { requestId, tokenIds: [...draft.slice(0, right), 7], finished: finished.includes(requestId) };
      }),
    );
  };
  const step = (finished: string[] = [], right = 0) => {
    const plan = scheduler.plan()!;
    commit(plan, finished, right);
    return summary(plan);
  };
  return { manager, scheduler, add, commit, step };
}

export function wantsToken(planned: PlannedSequence, scheduler: Scheduler, layers = Number.NaN): boolean {
  const { requestId, tokenIds, draft = [] } = planned;
  if (planned.layers !== undefined && planned.layers.end < layers) return false;
  return tokenIds.length - draft.length === scheduler.get(requestId)?.pending;
}

/** "id rows@context", with "*" where the last row's logits are wanted, "**" where all are, "+" and the draft of one. */
export const summary = (plan: StepPlan) => {
  const marks = { none: "", last: "*", all: "**" };
  return plan.sequences.map(({ requestId, tokenIds, contextLength, logits, draft }) => {
    return `${requestId} ${tokenIds.length}@${contextLength}${draft ? `+${draft}` : marks[logits]}`;
  });
};
