import { writeFileSync } from "node:fs";
import pino from "pino";
import { greedySampling } from "../../attention/sampling.ts";
import type { CliIo } from "../../server/cli/io.ts";
import { parseServerOptions } from "../../server/config.ts";
import { loadServing } from "../../server/load-serving.ts";
import type { Serving } from "../../server/serving.ts";
import { startServer } from "../../server/start.ts";
import { describeMachine } from "../machine.ts";
import { loadOptionsOf } from "../options.ts";
import { Clients } from "./clients.ts";
import type { OverheadOptions } from "./command.ts";
import { decodeSteps, figuresOf } from "./figures.ts";
import { type RecordedStep, Recorder } from "./recorder.ts";
import { type Round, reportOf, tableOf } from "./report.ts";

/** Words of which prompts are made. */
const WORDS = "the house stood near a river where people walked every morning before anybody else was awake and".split(
  " ",
);

/**
 * A server in this process is asked by clients in another; then its decode steps are run again, the same rows over the same
 * pages, by a loop that does nothing else. In turn, round after round, after a first one that does not count.
 */
export async function runOverhead(options: OverheadOptions, io: CliIo): Promise<number> {
  const { model, batch, threads, kvDtype, scanDtype, r, k, local } = options;
  const given = { model, ...loadOptionsOf(options), threads, kvDtype, scanDtype, r, k, local };
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const serverOptions = parseServerOptions({ ...set, port: 0, maxRunning: Math.max(32, batch) });
  let recorder: Recorder | undefined;
  const server = await startServer(serverOptions, {
    load: (loading, log, observers) => {
      return loadServing(loading, log, observers, (session) => {
        recorder = new Recorder(session);
        return recorder;
      });
    },
    log: pino({ level: "warn" }, { write: io.err }),
  });
  const clients = new Clients();
  try {
    const bodies = bodiesFor(await server.ready, options);
    const rounds: Round[] = [];
    for (let round = 0; round <= options.rounds; round++) {
      io.stop.throwIfAborted();
      const { cpuSeconds } = await clients.ask(server.url, bodies, options.tokens);
      const all = recorder!.take();
      if (round === 0) continue; // Code is compiled, prompts are cached: from now on all can begin at once.
      const served = decodeSteps(all, batch);
      if (served.length < 2) {
        throw new Error(`the ${batch} streams decoded one token each in ${served.length} steps: give more --tokens`);
      }
      const direct = await replay(recorder!, served);
      const clientMs = (1000 * cpuSeconds) / all.length;
      rounds.push({ served: figuresOf(served), direct: figuresOf(direct), clientMs });
    }
    const report = reportOf(rounds, batch);
    io.out(tableOf(report));
    if (options.json) {
      const machine = describeMachine(recorder!.session.threads);
      writeFileSync(options.json, `${JSON.stringify({ machine, options, ...report }, null, 2)}\n`);
    }
    return 0;
  } finally {
    clients.close();
    await server.close();
  }
}

/**
 * The steps again, one after the other. Their tokens are known, but rows without sampling would give their logits away, and
 * memory for the next ones would be part of the step: so each takes its likeliest token, and that time is known.
 */
async function replay(recorder: Recorder, steps: readonly RecordedStep[]): Promise<readonly RecordedStep[]> {
  for (const { sequences } of steps) {
    await recorder.step(sequences.map((sequence) => ({ ...sequence, sampling: [greedySampling] })));
  }
  return recorder.take();
}

/** Chats of about `context` tokens, each with a beginning of its own, sampled as a client's that says nothing. */
function bodiesFor({ tokenizer, contextLength, name }: Serving, options: OverheadOptions): string[] {
  const { batch, context, tokens } = options;
  const most = Math.min(context, contextLength - tokens - 64);
  return Array.from({ length: batch }, (_, client) => {
    const words = Array.from(
      { length: most },
      (_, i) => WORDS[(client * 7 + i * 31 + Math.floor(i / 7)) % WORDS.length],
    );
    const content = tokenizer.decode(tokenizer.encode(`${client} ${words.join(" ")}`).slice(0, most));
    const messages = [{ role: "user", content }];
    return JSON.stringify({ model: name, messages, max_tokens: tokens, ignore_eos: true, stream: true, seed: client });
  });
}
