import type { StepSequence } from "../../attention/types.ts";

/** How a sequence attends to everything. */
export const dense: Pick<StepSequence, "attention" | "denseUntil"> = {
  attention: { mode: "dense", r: 1, k: 1, local: 0, meanValue: false, groupSum: "softmax" },
  denseUntil: 0,
};
