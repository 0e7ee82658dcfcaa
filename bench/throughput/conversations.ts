import { join } from "node:path";
import { packageRoot } from "../../attention/root.ts";
import { EngineError } from "../../server/engine/errors.ts";
import { Random } from "../soak/random.ts";
import { type Exchange, readConversations } from "./conversation-file.ts";
import { type Workload, WorkloadError, type WorkloadModel, type WorkloadRequest } from "./workload.ts";

/** vLLM's limits: shorter prompts and answers, and longer ones, are left out. */
export const LEAST_TOKENS = 4;
export const MOST_PROMPT_TOKENS = 1024;
export const MOST_TOKENS = 2048;

export interface ConversationOptions {
  readonly requests: number;
  /** Instead of the answers' own lengths. */
  readonly outputTokens?: number;
  /** Default: the sample that comes with the repository. */
  readonly data?: string;
  readonly prompts: "plain" | "chat";
  readonly seed: number;
}

/**
 * The first prompts of conversations, in an order that the seed decides, each to be answered with as many tokens as it was.
 * Throws DataError for a file that is not as it should be, WorkloadError if too few of it can be used.
 */
export function conversationWorkload(options: ConversationOptions, model: WorkloadModel): Workload {
  const { requests, data = samplePath(), seed } = options;
  const random = new Random(seed);
  const conversations = readConversations(data);
  const left = { oneTurn: 0, tooShort: 0, tooLong: 0 };
  const chosen: WorkloadRequest[] = [];
  for (const exchange of random.shuffle(conversations)) {
    if (chosen.length === requests) break;
    const lengths = exchange === null ? "oneTurn" : measure(exchange, options, model);
    if (typeof lengths === "string") left[lengths] += 1;
    else chosen.push({ ...lengths, seed: random.integer(0, 2 ** 31 - 1) });
  }
  if (chosen.length < requests) {
    const { oneTurn, tooShort, tooLong } = left;
    throw new WorkloadError(
      `${requests} requests are wanted, and ${chosen.length} of the ${conversations.length} conversations of ${data} can ` +
        `be used: ${tooLong} are too long, ${tooShort} too short, ${oneTurn} have one turn or none`,
    );
  }
  return { requests: chosen, labels: {}, facts: { conversations: conversations.length, ...left } };
}

/** Or why it cannot be used. */
function measure(
  { prompt, answer }: Exchange,
  { outputTokens, prompts }: ConversationOptions,
  { tokenizer, contextLength }: WorkloadModel,
): Omit<WorkloadRequest, "seed"> | "tooShort" | "tooLong" {
  try {
    const promptIds =
      prompts === "plain"
        ? tokenizer.encode(prompt, { contextLength: MOST_PROMPT_TOKENS })
        : tokenizer.applyChatTemplate([{ role: "user", content: prompt }], {
            addGenerationPrompt: true,
            contextLength: MOST_PROMPT_TOKENS,
          });
    const output =
      outputTokens ?? tokenizer.encode(answer, { addSpecialTokens: false, contextLength: MOST_TOKENS }).length;
    if (promptIds.length > MOST_PROMPT_TOKENS) return "tooLong";
    if (promptIds.length + output > Math.min(MOST_TOKENS, contextLength)) return "tooLong";
    if (promptIds.length < LEAST_TOKENS) return "tooShort";
    return outputTokens === undefined && output < LEAST_TOKENS ? "tooShort" : { promptIds, outputTokens: output };
  } catch (error) {
    if (error instanceof EngineError && error.code === "context_overflow") return "tooLong";
    throw error;
  }
}

function samplePath(): string {
  return join(packageRoot(), "bench", "throughput", "sample", "conversations.jsonl");
}
