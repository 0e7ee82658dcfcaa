import { afterEach, describe, expect, it } from "vitest";
import { ServerMetrics } from "../../server/metrics/server-metrics.ts";
import type { StartedServer } from "../../server/start.ts";
import { collect, requestOf, setUp } from "../support/engine.ts";
import { type Family, parseExposition, sampleValue } from "../support/exposition.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { serve, servingOf } from "../support/serving.ts";

/** An engine on a clock that each step moves by 0.1 s, and what its metrics say. */
function watched(options: Parameters<typeof setUp>[0] = {}) {
  const metrics = new ServerMetrics(() => "ready");
  const clock = { seconds: 0 };
  const { engine } = setUp({
    observers: [metrics.observer],
    now: () => clock.seconds,
    beforeStep: () => {
      clock.seconds += 0.1;
    },
    ...options,
  });
  metrics.attach(servingOf(engine));
  const read = async () => parseExposition(await metrics.registry.metrics());
  return { engine, read };
}

/** One value a series for all families of a type. */
function valuesOf(families: ReadonlyMap<string, Family>, type: string): Map<string, number> {
  const chosen = [...families.values()].filter((family) => family.type === type);
  return new Map(
    chosen.flatMap(({ samples }) => samples.map((s) => [`${s.name}${JSON.stringify(s.labels)}`, s.value] as const)),
  );
}

const promised = [
  "vllm:num_requests_running gauge",
  "vllm:num_requests_waiting gauge",
  "vllm:kv_cache_usage_perc gauge",
  "vllm:prefix_cache_queries_total counter",
  "vllm:prefix_cache_hits_total counter",
  "vllm:num_preemptions_total counter",
  "vllm:spec_decode_num_drafts_total counter",
  "vllm:spec_decode_num_draft_tokens_total counter",
  "vllm:spec_decode_num_accepted_tokens_total counter",
  "vllm:prompt_tokens_total counter",
  "vllm:generation_tokens_total counter",
  "vllm:request_success_total counter",
  "vllm:time_to_first_token_seconds histogram",
  "vllm:request_time_per_output_token_seconds histogram",
  "vllm:inter_token_latency_seconds histogram",
  "vllm:e2e_request_latency_seconds histogram",
  "vllm:request_queue_time_seconds histogram",
  "sparq:kv_bytes_read_total counter",
  "sparq:dense_bytes_equivalent_total counter",
  "sparq:attention_seconds_total counter",
  "sparq:step_seconds histogram",
];

describe("the metrics of an engine", () => {
  it("are all there before the first request, at zero, with the model's name", async () => {
    const { read } = watched();
    const families = await read();
    for (const line of promised) {
      const [name, type] = line.split(" ") as [string, string];
      const family = families.get(name);
      expect(family, name).toMatchObject({ type, help: expect.stringMatching(/\w/) });
      for (const sample of family!.samples)
        expect(sample).toMatchObject({ value: 0, labels: { model_name: "test-model" } });
      expect(family!.samples.length).toBeGreaterThan(0);
    }
    const kinds = families.get("sparq:kv_bytes_read_total")!.samples.map(({ labels }) => labels.kind);
    expect(kinds).toEqual(["approx", "gather", "dense"]);
  });

  it("say what a known run did", async () => {
    const { engine, read } = watched({ scheduler: { maxRows: 4, maxRunning: 4 } });
    // Six tokens of prompt in two steps, the second of which gives the first token; two more steps.
    await collect(engine, requestOf("a", [3, 4, 5, 3, 4, 5], { maxTokens: 3 }));
    const families = await read();
    const value = (name: string, labels?: Record<string, string>) => sampleValue(families, name, labels);
    expect(value("vllm:prompt_tokens_total")).toBe(6);
    expect(value("vllm:generation_tokens_total")).toBe(3);
    expect(value("vllm:request_success_total", { finished_reason: "length" })).toBe(1);
    expect(value("vllm:request_success_total", { finished_reason: "stop" })).toBe(0);
    expect(value("vllm:prefix_cache_queries_total")).toBe(6);
    expect(value("vllm:time_to_first_token_seconds_sum")).toBeCloseTo(0.2);
    expect(value("vllm:time_to_first_token_seconds_bucket", { le: "0.1" })).toBe(0);
    expect(value("vllm:time_to_first_token_seconds_bucket", { le: "0.25" })).toBe(1);
    expect(value("vllm:inter_token_latency_seconds_count")).toBe(2);
    expect(value("vllm:inter_token_latency_seconds_sum")).toBeCloseTo(0.2);
    expect(value("vllm:request_time_per_output_token_seconds_sum")).toBeCloseTo(0.1);
    expect(value("vllm:e2e_request_latency_seconds_sum")).toBeCloseTo(0.4);
    expect(value("vllm:request_queue_time_seconds_count")).toBe(1);
    expect(value("vllm:request_prefill_time_seconds_sum")).toBeCloseTo(0.2);
    expect(value("vllm:request_decode_time_seconds_sum")).toBeCloseTo(0.2);
    expect(value("vllm:request_inference_time_seconds_sum")).toBeCloseTo(0.4);
    expect(value("vllm:request_prompt_tokens_sum")).toBe(6);
    expect(value("vllm:request_generation_tokens_sum")).toBe(3);
    expect(value("vllm:iteration_tokens_total_sum")).toBe(8);
    expect(value("sparq:step_seconds_count")).toBe(4);
    expect(value("sparq:step_seconds_sum")).toBeCloseTo(0.4);
    // FakeRunner's traffic of a step is 1, 2, 3 and 4.
    expect(value("sparq:kv_bytes_read_total", { kind: "approx" })).toBe(4);
    expect(value("sparq:kv_bytes_read_total", { kind: "gather" })).toBe(8);
    expect(value("sparq:kv_bytes_read_total", { kind: "dense" })).toBe(12);
    expect(value("sparq:dense_bytes_equivalent_total")).toBe(16);
    expect(value("vllm:num_requests_running")).toBe(0);
  });

  it("show what runs and waits, the prefix cache, preemptions and those who left", async () => {
    const { engine, read } = watched({
      blocks: 5,
      habit: 30,
      scheduler: { speculation: { maxDraft: 4, stepCost: 100 } },
    });
    const prompts = [3, 4, 5, 3, 4, 5, 3];
    const runs = ["a", "b"].map((id, i) =>
      collect(engine, requestOf(id, [i + 3, ...prompts.slice(1)], { maxTokens: 8 })),
    );
    const left = new AbortController();
    const gone = collect(engine, requestOf("c", prompts), left.signal);
    gone.catch(() => {});
    const during = await read();
    expect(sampleValue(during, "vllm:num_requests_running") + sampleValue(during, "vllm:num_requests_waiting")).toBe(3);
    left.abort(new Error("gone"));
    await expect(gone).rejects.toThrow("gone");
    await Promise.all(runs);
    await expect(collect(engine, requestOf("d", []))).rejects.toMatchObject({ code: "empty_prompt" });
    // The first block of a's prompt is still there.
    await collect(engine, requestOf("e", [3, ...prompts.slice(1)], { maxTokens: 1 }));
    const after = await read();
    const stats = engine.stats();
    expect(sampleValue(after, "vllm:num_preemptions_total")).toBe(stats.preemptions);
    expect(stats.preemptions).toBeGreaterThan(0);
    expect(sampleValue(after, "vllm:prefix_cache_queries_total")).toBe(stats.promptTokens);
    expect(sampleValue(after, "vllm:prefix_cache_hits_total")).toBe(stats.cachedPromptTokens);
    expect(stats.cachedPromptTokens).toBeGreaterThan(0);
    expect(sampleValue(after, "vllm:generation_tokens_total")).toBe(stats.generatedTokens);
    expect(sampleValue(after, "vllm:spec_decode_num_drafts_total")).toBe(stats.drafts);
    expect(sampleValue(after, "vllm:spec_decode_num_draft_tokens_total")).toBe(stats.draftTokens);
    expect(sampleValue(after, "vllm:spec_decode_num_accepted_tokens_total")).toBe(stats.acceptedDraftTokens);
    expect(stats.acceptedDraftTokens).toBeGreaterThan(0);
    expect(sampleValue(after, "vllm:request_success_total", { finished_reason: "abort" })).toBe(1);
    expect(sampleValue(after, "vllm:e2e_request_latency_seconds_count")).toBe(3);
    expect(sampleValue(after, "sparq:requests_refused_total", { reason: "empty_prompt" })).toBe(1);
    expect(
      sampleValue(after, "sparq:kv_blocks", { state: "free" }) +
        sampleValue(after, "sparq:kv_blocks", { state: "cached" }),
    ).toBe(5);
  });

  it("never go back", async () => {
    const { engine, read } = watched();
    let before = await read();
    for (let i = 0; i < 5; i++) {
      await collect(engine, requestOf(`r${i}`, [3 + i, 4, 5], { maxTokens: 1 + i }));
      const after = await read();
      for (const type of ["counter", "histogram"]) {
        const now = valuesOf(after, type);
        for (const [series, value] of valuesOf(before, type))
          expect(now.get(series), series).toBeGreaterThanOrEqual(value);
      }
      before = after;
    }
    // Also when the engine's own counts begin anew.
    let served = 7;
    const metrics = new ServerMetrics(() => "ready");
    const fake = new FakeEngine(() => []);
    const stats = () => ({ ...FakeEngine.prototype.stats.call(fake), promptTokens: served });
    metrics.attach(servingOf(Object.assign(fake, { stats })));
    const queries = async () => {
      return sampleValue(parseExposition(await metrics.registry.metrics()), "vllm:prefix_cache_queries_total");
    };
    expect(await queries()).toBe(7);
    served = 2;
    expect(await queries()).toBe(9);
  });
});

const servers: StartedServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

describe("GET /metrics", () => {
  it("counts requests by route, and has the process's own numbers, of each server apart", async () => {
    const [first, second] = await Promise.all([0, 1].map(() => serve(servingOf(new FakeEngine(() => ["x"])))));
    servers.push(first!, second!);
    await Promise.all([first!.ready, second!.ready]);
    for (const path of ["/v1/models/test-model", "/v1/models/other", "/random/1", "/random/2"])
      await fetch(first!.url + path);
    await fetch(`${first!.url}/v1/completions`, { method: "POST", body: '{"prompt":"a"}' });
    const response = await fetch(`${first!.url}/metrics`);
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const families = parseExposition(await response.text());
    const answered = (route: string, status: string) =>
      sampleValue(families, "sparq:http_requests_total", { route, status });
    expect(answered("/v1/completions", "200")).toBe(1);
    expect(answered("/v1/models/{model}", "200")).toBe(1);
    expect(answered("/v1/models/{model}", "404")).toBe(1);
    expect(answered("other", "404")).toBe(2);
    for (const name of ["process_resident_memory_bytes", "nodejs_eventloop_lag_p99_seconds", "sparq:ready"]) {
      expect(sampleValue(families, name)).toBeGreaterThan(0);
    }
    expect(families.get("nodejs_gc_duration_seconds")?.type).toBe("histogram");
    const others = parseExposition(await (await fetch(`${second!.url}/metrics`)).text());
    expect(others.get("sparq:http_requests_total")?.samples).toEqual([]);
  });

  it("answers while the model loads", async () => {
    const server = await serve(new Promise(() => {}));
    servers.push(server);
    const families = parseExposition(await (await fetch(`${server.url}/metrics`)).text());
    expect(sampleValue(families, "sparq:ready")).toBe(0);
    expect(families.has("vllm:num_requests_running")).toBe(false);
  });
});
