import { createRoute, type z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { statsSchema } from "../schemas/status.ts";
import type { Serving } from "../serving.ts";
import { errorResponses } from "./responses.ts";

export const statsRoute = createRoute({
  method: "get",
  path: "/v1/sparq/stats",
  summary: "What the engine holds, and what it has done since it started",
  responses: {
    200: {
      description: "The state, and sums to take differences of",
      content: { "application/json": { schema: statsSchema } },
    },
    503: errorResponses[503],
  },
});

export function stats(context: Context, serving: Serving): Response {
  return context.json(describe(serving), 200, { "cache-control": "no-store" });
}

function describe(serving: Serving): z.output<typeof statsSchema> {
  const { name, contextLength, headDim, backend, attention, engine } = serving;
  const { running, waiting, blocks, traffic, ...sums } = engine.stats();
  const { r, k, kShare = 0, minContext = 0 } = attention;
  return {
    model: name,
    context_length: contextLength,
    head_size: headDim,
    attention:
      backend === "onnx"
        ? { mode: "onnx", r: 0, k: 0, k_share: 0, min_context: 0 }
        : { mode: attention.mode, r, k, k_share: kShare, min_context: minContext },
    running,
    waiting,
    blocks,
    steps: sums.steps,
    preemptions: sums.preemptions,
    prompt_tokens: sums.promptTokens,
    cached_prompt_tokens: sums.cachedPromptTokens,
    generated_tokens: sums.generatedTokens,
    speculation: {
      drafts: sums.drafts,
      draft_tokens: sums.draftTokens,
      accepted_draft_tokens: sums.acceptedDraftTokens,
    },
    traffic: {
      score_bytes: traffic.scoreBytes,
      gather_bytes: traffic.gatherBytes,
      dense_bytes: traffic.denseBytes,
      dense_equivalent_bytes: traffic.denseEquivalentBytes,
    },
  };
}
