// The clients of `sparq bench serve`, in a process of their own: what the other one does must not delay them.
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { ClientHealth, ClientMessage, LoadOrder } from "../timeline.ts";
import { ask } from "./ask.ts";
import { runLoad } from "./load.ts";

/** How often the event loop is looked at, in milliseconds: seldom enough to cost nothing. */
const LOOK_MS = 5;
const PROGRESS_MS = 250;

const send = (message: ClientMessage) => process.send!(message);

process.on("message", async (order: LoadOrder) => {
  let told = performance.now();
  const meter = new LagMeter();
  const timelines = await runLoad(order, ask, (ended) => {
    if (performance.now() - told < PROGRESS_MS) return;
    told = performance.now();
    send({ kind: "progress", ended });
  });
  send({ kind: "result", result: { timelines, client: meter.stop() } });
});
// The other process has gone: nobody will read what comes.
process.on("disconnect", () => process.exit());

class LagMeter {
  private readonly delays = monitorEventLoopDelay({ resolution: LOOK_MS });
  private readonly before = process.cpuUsage();

  constructor() {
    this.delays.enable();
  }

  stop(): ClientHealth {
    this.delays.disable();
    // The histogram holds nanoseconds from one look to the next; nothing if it was over before the first.
    const lag = (nanoseconds: number) => (this.delays.count === 0 ? 0 : Math.max(0, nanoseconds / 1e6 - LOOK_MS));
    const { mean, max } = this.delays;
    const { user, system } = process.cpuUsage(this.before);
    const cpuSeconds = (user + system) / 1e6;
    return { lagMean: lag(mean), lagP99: lag(this.delays.percentile(99)), lagMax: lag(max), cpuSeconds };
  }
}
