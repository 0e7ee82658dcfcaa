import type { WorkloadOptions } from "./command.ts";
import { conversationWorkload } from "./conversations.ts";
import { documentWorkload } from "./documents.ts";
import { syntheticWorkload } from "./synthetic.ts";
import type { Workload, WorkloadModel } from "./workload.ts";

const INPUT_TOKENS = [512];
const OUTPUT_TOKENS = 64;
const RANGE_RATIO = 0.5;
const QUESTIONS = 4;

/** One for each input length; of conversations one. Throws DataError and WorkloadError as their makers do. */
export function workloadsOf(options: WorkloadOptions, model: WorkloadModel): Workload[] {
  const { workload, requests, seed, data, prompts = "plain" } = options;
  const { inputTokens = INPUT_TOKENS, outputTokens = OUTPUT_TOKENS } = options;
  const from = data === undefined ? {} : { data };
  if (workload === "conversations") {
    const length = options.outputTokens === undefined ? {} : { outputTokens: options.outputTokens };
    return [conversationWorkload({ requests, seed, prompts, ...from, ...length }, model)];
  }
  const { questions = QUESTIONS, rangeRatio = workload === "random" ? RANGE_RATIO : 0 } = options;
  return inputTokens.map((tokens) => {
    const lengths = { requests, seed, inputTokens: tokens, outputTokens };
    return workload === "documents"
      ? documentWorkload({ ...lengths, questions, ...from }, model)
      : syntheticWorkload({ ...lengths, rangeRatio }, model);
  });
}
