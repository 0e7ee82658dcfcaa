import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";

export interface LineProcessOptions {
  /** For messages: "llama.cpp". */
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** A program that answers each line with a line of JSON, in order. What it writes to stderr is its reason if it fails. */
export class LineProcess {
  private readonly name: string;
  private readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  private readonly lines: AsyncIterator<string>;
  private stderr = "";

  constructor({ name, program, args, cwd, env }: LineProcessOptions) {
    this.name = name;
    const where = { ...(cwd === undefined ? {} : { cwd }), ...(env === undefined ? {} : { env }) };
    this.child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], ...where });
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

  ask<T>(request: string): Promise<T> {
    this.child.stdin.write(`${request}\n`);
    return this.answer<T>();
  }

  /** Rejects with the program's `error`, or with what it left behind when it ended. */
  async answer<T>(): Promise<T> {
    const line = await this.lines.next();
    if (line.done) throw new Error(`${this.name}'s process ended: ${this.reason()}`);
    const answer = JSON.parse(line.value) as T & { error?: string };
    if (answer.error !== undefined)
      throw new Error([this.name, answer.error, this.stderr.trim()].filter(Boolean).join(": "));
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
