import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { buildPeer, PEER_VERSION } from "./llama-cpp-files.ts";
import { type DecodeRound, type System, stepsOf } from "./system.ts";

export interface LlamaCppOptions {
  /** Folder of llama.cpp's libraries. */
  readonly libraries: string;
  /** A GGUF file. */
  readonly model: string;
  readonly threads: number;
  /** Folder where filled caches stay for later runs; without it none do. */
  readonly kept?: string;
}

interface Greeting {
  readonly version: string;
  readonly system: string;
  readonly vocabSize: number;
  readonly layers: number;
}

/** llama.cpp in a process of its own, as native/peer.cc runs it: flash attention, keys and values in f16. */
export class LlamaCppSystem implements System {
  readonly name = "llama.cpp";
  readonly variants = ["dense"];
  readonly versions: Readonly<Record<string, string>>;
  readonly vocabSize: number;
  readonly layers: number;
  private readonly child: PeerProcess;
  private readonly options: LlamaCppOptions;

  private constructor(child: PeerProcess, options: LlamaCppOptions, greeting: Greeting) {
    this.child = child;
    this.options = options;
    this.vocabSize = greeting.vocabSize;
    this.layers = greeting.layers;
    const { version, system } = greeting;
    this.versions = { "node-llama-cpp": PEER_VERSION, "llama.cpp": version, "llama.cpp system": system };
  }

  /** Builds the program if need be, starts it and loads the model. Rejects with what the program says. */
  static async load(options: LlamaCppOptions): Promise<LlamaCppSystem> {
    const { libraries, model, threads, kept } = options;
    if (kept !== undefined) mkdirSync(kept, { recursive: true });
    const child = new PeerProcess(await buildPeer(), [libraries, model, String(threads)], kept);
    return new LlamaCppSystem(child, options, await child.answer<Greeting>());
  }

  async check(prompt: readonly number[]): Promise<readonly number[]> {
    const { top, finite } = await this.child.ask<{ top: number[]; finite: boolean }>("check", prompt.length, ...prompt);
    requireFinite(finite);
    return top;
  }

  async open(positions: number, sequences: number): Promise<void> {
    await this.child.ask("open", positions, sequences);
  }

  async fill(tokens: readonly number[]): Promise<number> {
    return (await this.child.ask<{ seconds: number }>("fill", tokens.length, ...tokens)).seconds;
  }

  async refill(tokens: readonly number[]): Promise<void> {
    const { kept } = this.options;
    if (kept === undefined) return void (await this.fill(tokens));
    // A name without a folder, since the program's requests are words: it runs in that folder.
    const file = this.keptName(tokens);
    const there = existsSync(join(kept, file));
    if (there && (await this.child.ask<{ loaded: boolean }>("load", file, tokens.length)).loaded) return;
    await this.fill(tokens);
    await this.child.ask("save", file, tokens.length, ...tokens);
  }

  async decode(round: DecodeRound): Promise<readonly number[]> {
    const { context, batch, tokens } = round;
    const request = ["decode", context, batch, stepsOf(round), ...tokens] as const;
    const { milliseconds, finite } = await this.child.ask<{ milliseconds: number[]; finite: boolean }>(...request);
    requireFinite(finite);
    return milliseconds;
  }

  async cpuSeconds(): Promise<number> {
    return (await this.child.ask<{ seconds: number }>("cpu")).seconds;
  }

  close(): void {
    this.child.close();
  }

  /** Another one for any other model file, version of llama.cpp, or tokens. */
  private keptName(tokens: readonly number[]): string {
    const { size, mtimeMs } = statSync(this.options.model);
    const key = JSON.stringify([PEER_VERSION, this.options.model, size, mtimeMs, tokens]);
    return `llama-cpp-${createHash("sha256").update(key).digest("hex").slice(0, 16)}.bin`;
  }
}

/** A program that answers each request with a line of JSON, in order. */
class PeerProcess {
  private readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  private readonly lines: AsyncIterator<string>;
  private stderr = "";

  constructor(program: string, args: readonly string[], cwd: string | undefined) {
    this.child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], ...(cwd === undefined ? {} : { cwd }) });
    this.child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.stderr = (this.stderr + text).slice(-4000);
    });
    // A program that is gone shows as the end of its answers.
    this.child.stdin.on("error", () => {});
    this.child.on("error", (error) => {
      this.stderr += error.message;
    });
    this.lines = createInterface(this.child.stdout)[Symbol.asyncIterator]();
  }

  ask<T>(...request: readonly (string | number)[]): Promise<T> {
    this.child.stdin.write(`${request.join(" ")}\n`);
    return this.answer<T>();
  }

  async answer<T>(): Promise<T> {
    const line = await this.lines.next();
    if (line.done) throw new Error(`llama.cpp's process ended: ${this.reason()}`);
    const answer = JSON.parse(line.value) as T & { error?: string };
    if (answer.error !== undefined) throw new Error([answer.error, this.stderr.trim()].filter(Boolean).join(": "));
    return answer;
  }

  close(): void {
    this.child.stdin.end();
    this.child.kill();
  }

  private reason(): string {
    const { exitCode, signalCode } = this.child;
    return this.stderr.trim() || (signalCode ? `by ${signalCode}` : `exit code ${exitCode}`);
  }
}

function requireFinite(finite: boolean): void {
  if (!finite) throw new Error("llama.cpp gave a logit that is not finite");
}
