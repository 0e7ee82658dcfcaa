import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { ServerMetrics } from "../../server/metrics/server-metrics.ts";
import { type Family, parseExposition } from "../support/exposition.ts";
import { FakeEngine } from "../support/fake-engine.ts";
import { servingOf } from "../support/serving.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const dashboard = JSON.parse(read("deploy/grafana/sparq.json"));
const alerts = parse(read("deploy/prometheus/alerts.yaml"));
const adapter = parse(read("deploy/prometheus/adapter-values.yaml"));

let families: ReadonlyMap<string, Family>;
beforeAll(async () => {
  const metrics = new ServerMetrics(() => "ready");
  metrics.attach(servingOf(new FakeEngine(() => [])));
  // What has no series before it has happened once.
  metrics.observer.requestRefused?.("empty_prompt");
  metrics.answered("/v1/completions", 200);
  families = parseExposition(await metrics.registry.metrics());
});

/** The names that a query reads; all of ours have a colon or a known beginning. */
function namesIn(query: string): string[] {
  return query.match(/\b(?:vllm:|sparq:|process_|nodejs_)\w+/g) ?? [];
}

/** The family that a queried name belongs to, and what is wrong with asking for it. */
function faultOf(name: string): string | null {
  const whole = families.get(name);
  if (whole !== undefined) return whole.type === "histogram" ? `${name} is a histogram` : null;
  const part = /^(.+)_(bucket|sum|count)$/.exec(name);
  return families.get(part?.[1] ?? "")?.type === "histogram" ? null : `${name} is not exposed`;
}

const queries: [string, string][] = [
  ...dashboard.panels.flatMap((panel: { title: string; targets?: { expr: string }[] }) =>
    (panel.targets ?? []).map(({ expr }) => [`dashboard: ${panel.title}`, expr]),
  ),
  ...dashboard.templating.list
    .filter(({ type }: { type: string }) => type === "query")
    .map(({ name, definition }: Record<string, string>) => [`dashboard: variable ${name}`, definition]),
  ...alerts.groups[0].rules.map(({ alert, expr }: Record<string, string>) => [`alert: ${alert}`, expr]),
  ["adapter: series", adapter.rules.custom[0].seriesQuery],
  ["adapter: query", adapter.rules.custom[0].metricsQuery],
];

describe("what is asked of /metrics", () => {
  it.each(queries)("%s", (_, query) => {
    expect(namesIn(query).length).toBeGreaterThan(0);
    expect(namesIn(query).flatMap((name) => faultOf(name) ?? [])).toEqual([]);
  });

  it("by labels uses labels that there are", () => {
    const added = new Set(["instance", "job", "namespace", "pod", "__name__", "le"]);
    for (const [where, query] of queries) {
      for (const [, name, selector = ""] of query.matchAll(/\b((?:vllm:|sparq:)\w+)\{([^}]*)\}/g)) {
        const family = families.get(name!) ?? families.get(name!.replace(/_(bucket|sum|count)$/, ""))!;
        const known = new Set(family.samples.flatMap(({ labels }) => Object.keys(labels)));
        const asked = [...selector.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map(([, label]) => label!);
        expect(
          asked.filter((label) => !known.has(label) && !added.has(label)),
          `${where}: ${name}`,
        ).toEqual([]);
      }
    }
  });

  it("by the autoscaler is what the adapter makes", () => {
    const autoscaler = parse(read("deploy/kubernetes/autoscaler.yaml"));
    expect(autoscaler.spec.metrics[0].pods.metric.name).toBe(adapter.rules.custom[0].name.as);
  });
});

describe("the dashboard", () => {
  it("shows every metric of the model's", () => {
    const asked = new Set(
      queries.flatMap(([, query]) => namesIn(query)).map((name) => name.replace(/_(bucket|sum|count)$/, "")),
    );
    const unseen = [...families.keys()].filter((name) => /^(vllm|sparq):/.test(name) && !asked.has(name));
    // The same times, for each request or summed up another way.
    expect(unseen.sort()).toEqual([
      "sparq:build_info",
      "vllm:request_inference_time_seconds",
      "vllm:request_max_num_generation_tokens",
      "vllm:request_time_per_output_token_seconds",
      "vllm:spec_decode_num_drafts_total",
    ]);
  });

  it("has panels that do not overlap and ids of their own", () => {
    type Panel = { id: number; gridPos: { x: number; y: number; w: number; h: number } };
    const panels: Panel[] = dashboard.panels;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
  });
});
