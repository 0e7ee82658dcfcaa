import { createHash } from "node:crypto";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { extname, join, resolve } from "node:path";
import { LineProcess } from "./line-process.ts";
import { buildPeer, locateLlamaCpp, PEER_VERSION } from "./llama-cpp-files.ts";
import { bytesPerPosition, type Peer, PeerMissing } from "./peer.ts";
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
  private readonly child: LineProcess;
  private readonly options: LlamaCppOptions;

  private constructor(child: LineProcess, options: LlamaCppOptions, greeting: Greeting) {
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
    const child = new LineProcess({
      name: "llama.cpp",
      program: await buildPeer(),
      args: [libraries, model, String(threads)],
      ...(kept === undefined ? {} : { cwd: kept }),
    });
    return new LlamaCppSystem(child, options, await child.answer<Greeting>());
  }

  async check(prompt: readonly number[]): Promise<readonly number[]> {
    const { top, finite } = await this.ask<{ top: number[]; finite: boolean }>("check", prompt.length, ...prompt);
    requireFinite(finite);
    return top;
  }

  async open(positions: number, sequences: number): Promise<void> {
    await this.ask("open", positions, sequences);
  }

  async fill(tokens: readonly number[]): Promise<number> {
    return (await this.ask<{ seconds: number }>("fill", tokens.length, ...tokens)).seconds;
  }

  async refill(tokens: readonly number[]): Promise<void> {
    const { kept } = this.options;
    if (kept === undefined) return void (await this.fill(tokens));
    // A name without a folder, since the program's requests are words: it runs in that folder.
    const file = this.keptName(tokens);
    const there = existsSync(join(kept, file));
    if (there && (await this.ask<{ loaded: boolean }>("load", file, tokens.length)).loaded) return;
    await this.fill(tokens);
    await this.ask("save", file, tokens.length, ...tokens);
  }

  async decode(round: DecodeRound): Promise<readonly number[]> {
    const { context, batch, tokens } = round;
    const request = ["decode", context, batch, stepsOf(round), ...tokens] as const;
    const { milliseconds, finite } = await this.ask<{ milliseconds: number[]; finite: boolean }>(...request);
    requireFinite(finite);
    return milliseconds;
  }

  async cpuSeconds(): Promise<number> {
    return (await this.ask<{ seconds: number }>("cpu")).seconds;
  }

  close(): void {
    this.child.close();
  }

  private ask<T>(...request: readonly (string | number)[]): Promise<T> {
    return this.child.ask<T>(request.join(" "));
  }

  /** Another one for any other model file, version of llama.cpp, or tokens. */
  private keptName(tokens: readonly number[]): string {
    const { size, mtimeMs } = statSync(this.options.model);
    const key = JSON.stringify([PEER_VERSION, this.options.model, size, mtimeMs, tokens]);
    return `llama-cpp-${createHash("sha256").update(key).digest("hex").slice(0, 16)}.bin`;
  }
}

function requireFinite(finite: boolean): void {
  if (!finite) throw new Error("llama.cpp gave a logit that is not finite");
}

/** llama.cpp rounds a sequence's share of its cache up to this. */
const PADDING = 256;

/** Reads GGUF, and nothing else. */
export const llamaCpp: Peer = {
  name: "llama.cpp",
  memory: {
    held: ({ config, positions, batch }) =>
      batch * Math.ceil(positions / PADDING) * PADDING * bytesPerPosition(config, 2),
    transient: () => 0,
  },
  async start({ model: { source }, threads, kept }) {
    if (extname(source) !== ".gguf") throw new PeerMissing(`it reads GGUF files only, not ${source}`);
    const located = locateLlamaCpp();
    if ("missing" in located) throw new PeerMissing(located.missing);
    const { libraries } = located;
    return LlamaCppSystem.load({ libraries, model: resolve(source), threads, ...(kept === undefined ? {} : { kept }) });
  },
};
