import { Counter, Gauge, type Registry } from "prom-client";
import type { EngineStats } from "../engine/types.ts";

/** What the engine knows of itself, asked for whenever the metrics are read. */
export function addStatsMetrics(registry: Registry, modelName: string, stats: () => EngineStats): void {
  const model = { model_name: modelName };
  const gauge = (name: string, help: string, read: (stats: EngineStats) => number) => {
    new Gauge({
      name,
      help,
      labelNames: ["model_name"],
      registers: [registry],
      collect() {
        this.set(model, read(stats()));
      },
    });
  };
  /** `read` gives a total; one that has become smaller has begun anew, after a fault. */
  const counter = (name: string, help: string, read: (stats: EngineStats) => number) => {
    let last = 0;
    new Counter({
      name,
      help,
      labelNames: ["model_name"],
      registers: [registry],
      collect() {
        const now = read(stats());
        this.inc(model, now >= last ? now - last : now);
        last = now;
      },
    });
  };
  gauge("vllm:num_requests_running", "Requests that hold blocks and run.", ({ running }) => running);
  gauge("vllm:num_requests_waiting", "Requests that wait for room.", ({ waiting }) => waiting);
  gauge("vllm:kv_cache_usage_perc", "Share of the KV cache in use; 1 is all.", ({ blocks }) => {
    return blocks.owned / blocks.total;
  });
  gauge("sparq:stuck_step_seconds", "How long a step has run that takes too long; 0 while none does.", (now) => {
    return now.stuckStep?.seconds ?? 0;
  });
  counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.", (now) => now.promptTokens);
  counter("vllm:prefix_cache_hits_total", "Prompt tokens found there.", (now) => now.cachedPromptTokens);
  counter("vllm:spec_decode_num_drafts_total", "Drafts of tokens that were run.", ({ drafts }) => drafts);
  counter("vllm:spec_decode_num_draft_tokens_total", "Tokens in them.", ({ draftTokens }) => draftTokens);
  counter("vllm:spec_decode_num_accepted_tokens_total", "Of these, what came true.", (now) => now.acceptedDraftTokens);
  new Gauge({
    name: "sparq:kv_blocks",
    help: "Blocks of the KV cache: in use, kept for prompts that begin alike, or free.",
    labelNames: ["model_name", "state"],
    registers: [registry],
    collect() {
      const { owned, cached, free } = stats().blocks;
      for (const [state, blocks] of Object.entries({ owned, cached, free })) this.set({ ...model, state }, blocks);
    },
  });
}
