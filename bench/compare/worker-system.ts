import { LineProcess, type LineProcessOptions } from "./line-process.ts";
import { PeerMissing } from "./peer.ts";
import { type DecodeRound, type System, stepsOf } from "./system.ts";

/** The first line of a worker: what it loaded, or why it cannot. */
type Greeting =
  | { readonly versions: Readonly<Record<string, string>>; readonly vocabSize: number; readonly layers: number }
  | { readonly missing: string };

/**
 * A program in a process of its own that takes requests as lines of JSON, {"do": "fill", "tokens": [...]}, and answers with
 * the fields that System's method of that name is made of: workers/worker.ts and python/worker.py are its other end.
 */
export class WorkerSystem implements System {
  readonly name: string;
  readonly variants = ["dense"];
  readonly versions: Readonly<Record<string, string>>;
  readonly vocabSize: number;
  readonly layers: number;
  private readonly child: LineProcess;

  private constructor(name: string, child: LineProcess, greeting: Exclude<Greeting, { missing: string }>) {
    this.name = name;
    this.child = child;
    this.versions = greeting.versions;
    this.vocabSize = greeting.vocabSize;
    this.layers = greeting.layers;
  }

  /** Throws PeerMissing with what the worker lacks. */
  static async start(options: LineProcessOptions): Promise<WorkerSystem> {
    const child = new LineProcess(options);
    try {
      const greeting = await child.answer<Greeting>();
      if ("missing" in greeting) throw new PeerMissing(greeting.missing);
      return new WorkerSystem(options.name, child, greeting);
    } catch (error) {
      child.close();
      throw error;
    }
  }

  async check(prompt: readonly number[]): Promise<readonly number[]> {
    const { top, finite } = await this.ask<{ top: number[]; finite: boolean }>("check", { prompt });
    this.requireFinite(finite);
    return top;
  }

  async open(positions: number, sequences: number): Promise<void> {
    await this.ask("open", { positions, sequences });
  }

  async fill(tokens: readonly number[]): Promise<number> {
    return (await this.ask<{ seconds: number }>("fill", { tokens })).seconds;
  }

  async refill(tokens: readonly number[]): Promise<void> {
    await this.ask("refill", { tokens });
  }

  async decode(round: DecodeRound): Promise<readonly number[]> {
    const { context, batch, tokens } = round;
    const request = { context, batch, steps: stepsOf(round), tokens };
    const { milliseconds, finite } = await this.ask<{ milliseconds: number[]; finite: boolean }>("decode", request);
    this.requireFinite(finite);
    return milliseconds;
  }

  async cpuSeconds(): Promise<number> {
    return (await this.ask<{ seconds: number }>("cpu", {})).seconds;
  }

  close(): void {
    this.child.close();
  }

  /** Throws PeerMissing with what the worker says of a request that it could do, but for too much time or memory. */
  private async ask<T>(what: string, fields: Readonly<Record<string, unknown>>): Promise<T> {
    const answer = await this.child.ask<T & { missing?: string }>(JSON.stringify({ do: what, ...fields }));
    if (answer.missing !== undefined) throw new PeerMissing(answer.missing);
    return answer;
  }

  private requireFinite(finite: boolean): void {
    if (!finite) throw new Error(`${this.name} gave a logit that is not finite`);
  }
}
