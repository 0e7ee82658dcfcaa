import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { EngineObserver } from "../engine/observer.ts";
import { attentionName, type ServerState, type Serving } from "../serving.ts";
import { version } from "../version.ts";
import { EngineMetrics } from "./engine-metrics.ts";
import { addStatsMetrics } from "./stats-metrics.ts";

/** One server's metrics. Those of the model are there from when it has been loaded. */
export class ServerMetrics {
  readonly registry = new Registry();
  /** To be given to the engine; it counts from `attach` on. */
  readonly observer: EngineObserver;
  private engine: EngineMetrics | undefined;
  private readonly requests: Counter<"route" | "status">;

  constructor(phase: () => ServerState["phase"]) {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.requests = new Counter({
      name: "sparq:http_requests_total",
      help: "HTTP requests answered, by route and status.",
      labelNames: ["route", "status"],
      registers,
    });
    new Gauge({
      name: "sparq:ready",
      help: "1 while requests are taken, 0 while the model loads and while the server drains.",
      registers,
      collect() {
        this.set(phase() === "ready" ? 1 : 0);
      },
    });
    const info = { name: "sparq:build_info", help: "1, with the server's version.", labelNames: ["version"] };
    new Gauge({ ...info, registers }).set({ version }, 1);
    this.observer = forwardTo(() => this.engine);
  }

  /** Adds the model's metrics, all at zero. Mutates; once. */
  attach(serving: Serving): void {
    const { name, engine } = serving;
    const labels = { model_name: name, attention: attentionName(serving) };
    const help = "1, with how requests attend that say nothing: sparq, dense, or onnx for the model's own graph.";
    const labelNames = Object.keys(labels);
    new Gauge({ name: "sparq:attention_info", help, labelNames, registers: [this.registry] }).set(labels, 1);
    this.engine = new EngineMetrics(this.registry, name);
    addStatsMetrics(this.registry, name, () => engine.stats());
  }

  /** An HTTP request has been answered. `route` must be one of few. Mutates. */
  answered(route: string, status: number): void {
    this.requests.inc({ route, status: String(status) });
  }
}

/** An observer that passes everything on to another, while there is one. */
function forwardTo(target: () => EngineMetrics | undefined): EngineObserver {
  return {
    requestRefused: (code) => target()?.requestRefused(code),
    requestStarted: (request, seconds) => target()?.requestStarted(request, seconds),
    firstToken: (request, seconds) => target()?.firstToken(request, seconds),
    token: (request, seconds) => target()?.token(request, seconds),
    preempted: () => target()?.preempted(),
    finished: (request, outcome) => target()?.finished(request, outcome),
    step: (step) => target()?.step(step),
  };
}
