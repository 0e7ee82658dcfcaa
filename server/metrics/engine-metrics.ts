import { Counter, type CounterConfiguration, Histogram, type Registry } from "prom-client";
import type { EngineObserver, ObservedRequest, ObservedStep, RequestOutcome } from "../engine/observer.ts";
import { buckets } from "./buckets.ts";

type Labels = Readonly<Record<string, string>>;

/** Label values that exist from the start, so that rates have something to begin from. */
const kinds = ["approx", "gather", "dense"] as const;
const reasons = ["stop", "length", "abort", "timeout", "error"] as const;

/**
 * What the engine did, counted as it happens. Times are of whole requests that ended by themselves: those of clients that
 * left would say more of the clients. One for each engine.
 */
export class EngineMetrics implements EngineObserver {
  private readonly model: Labels;
  private readonly counters: ReturnType<typeof createCounters>;
  private readonly histograms: ReturnType<typeof createHistograms>;

  constructor(registry: Registry, modelName: string) {
    this.model = { model_name: modelName };
    this.counters = createCounters(registry);
    this.histograms = createHistograms(registry);
    const { preemptions, promptTokens, generationTokens, success, kvBytes, denseEquivalent, attention } = this.counters;
    for (const counter of [preemptions, promptTokens, generationTokens, denseEquivalent, attention]) {
      counter.inc(this.model, 0);
    }
    for (const kind of kinds) kvBytes.inc({ ...this.model, kind }, 0);
    for (const reason of reasons) success.inc({ ...this.model, finished_reason: reason }, 0);
    for (const histogram of Object.values(this.histograms)) histogram.zero(this.model);
  }

  requestRefused(code: string): void {
    this.counters.refused.inc({ ...this.model, reason: code });
  }

  requestStarted(_request: ObservedRequest, queueSeconds: number): void {
    this.histograms.queue.observe(this.model, queueSeconds);
  }

  firstToken({ promptTokens }: ObservedRequest, seconds: number): void {
    this.counters.promptTokens.inc(this.model, promptTokens);
    this.counters.generationTokens.inc(this.model);
    this.histograms.firstToken.observe(this.model, seconds);
  }

  token(_request: ObservedRequest, seconds: number): void {
    this.counters.generationTokens.inc(this.model);
    this.histograms.interToken.observe(this.model, seconds);
  }

  preempted(): void {
    this.counters.preemptions.inc(this.model);
  }

  finished(request: ObservedRequest, outcome: RequestOutcome): void {
    this.counters.success.inc({ ...this.model, finished_reason: outcome.reason });
    if (outcome.reason !== "stop" && outcome.reason !== "length") return;
    const { queueSeconds, firstTokenSeconds, perTokenSeconds, seconds, completionTokens } = outcome;
    const { histograms, model } = this;
    histograms.endToEnd.observe(model, seconds);
    histograms.requestPromptTokens.observe(model, request.promptTokens);
    histograms.requestGenerationTokens.observe(model, completionTokens);
    histograms.requestMaxTokens.observe(model, request.maxNewTokens);
    if (perTokenSeconds !== null) histograms.perToken.observe(model, perTokenSeconds);
    if (queueSeconds !== null) histograms.inference.observe(model, seconds - queueSeconds);
    if (queueSeconds === null || firstTokenSeconds === null) return;
    histograms.prefill.observe(model, firstTokenSeconds - queueSeconds);
    histograms.decode.observe(model, seconds - firstTokenSeconds);
  }

  step({ seconds, promptRows, decodeRows, traffic, attentionSeconds = 0 }: ObservedStep): void {
    const { counters, histograms, model } = this;
    histograms.step.observe(model, seconds);
    histograms.rows.observe(model, promptRows + decodeRows);
    counters.attention.inc(model, attentionSeconds);
    counters.kvBytes.inc({ ...model, kind: "approx" }, traffic.scoreBytes);
    counters.kvBytes.inc({ ...model, kind: "gather" }, traffic.gatherBytes);
    counters.kvBytes.inc({ ...model, kind: "dense" }, traffic.denseBytes);
    counters.denseEquivalent.inc(model, traffic.denseEquivalentBytes);
  }
}

function createCounters(registry: Registry) {
  const counter = (name: string, help: string, ...labels: string[]) => {
    const configuration: CounterConfiguration<string> = { name, help, labelNames: ["model_name", ...labels] };
    return new Counter({ ...configuration, registers: [registry] });
  };
  return {
    promptTokens: counter("vllm:prompt_tokens_total", "Prompt tokens of requests that got their first token."),
    generationTokens: counter("vllm:generation_tokens_total", "Tokens generated."),
    preemptions: counter("vllm:num_preemptions_total", "Times that a request lost its blocks to make room."),
    success: counter("vllm:request_success_total", "Requests that ended, by the reason.", "finished_reason"),
    refused: counter("sparq:requests_refused_total", "Requests that the engine turned away, by the reason.", "reason"),
    kvBytes: counter("sparq:kv_bytes_read_total", "Bytes that attention read of the KV cache.", "kind"),
    denseEquivalent: counter("sparq:dense_bytes_equivalent_total", "Bytes that dense attention would have read."),
    attention: counter("sparq:attention_seconds_total", "Time that steps spent in attention."),
  };
}

function createHistograms(registry: Registry) {
  const histogram = (name: string, help: string, bounds: readonly number[]) => {
    return new Histogram({ name, help, labelNames: ["model_name"], buckets: [...bounds], registers: [registry] });
  };
  const { firstToken, perToken, request, tokens, rows, step } = buckets;
  return {
    firstToken: histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.", firstToken),
    interToken: histogram("vllm:inter_token_latency_seconds", "Between a token and the next.", perToken),
    perToken: histogram(
      "vllm:request_time_per_output_token_seconds",
      "Of a request, from the first token to the last, for each token after the first.",
      perToken,
    ),
    endToEnd: histogram("vllm:e2e_request_latency_seconds", "From arrival to the end.", request),
    queue: histogram("vllm:request_queue_time_seconds", "From arrival to the first step.", request),
    inference: histogram("vllm:request_inference_time_seconds", "From the first step to the end.", request),
    prefill: histogram("vllm:request_prefill_time_seconds", "From the first step to the first token.", request),
    decode: histogram("vllm:request_decode_time_seconds", "From the first token to the end.", request),
    requestPromptTokens: histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", tokens),
    requestGenerationTokens: histogram("vllm:request_generation_tokens", "Tokens generated for a request.", tokens),
    requestMaxTokens: histogram(
      "vllm:request_max_num_generation_tokens",
      "Tokens that a request might have generated.",
      tokens,
    ),
    rows: histogram("vllm:iteration_tokens_total", "Tokens that ran in a step.", rows),
    step: histogram("sparq:step_seconds", "Wall time of a step.", step),
  };
}
