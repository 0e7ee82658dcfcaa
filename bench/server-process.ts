import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { packageRoot } from "../attention/root.ts";

/** How long a server may take to load, and to end after SIGTERM. */
const PATIENCE_MS = 120_000;

/** `sparq serve` in a process of its own. */
export class ServerProcess {
  readonly url: string;
  /** What it wrote to its log: warnings, errors, and whatever Node says of unhandled faults. */
  readonly complaints: string[];
  private readonly child: ChildProcess;

  private constructor(child: ChildProcess, url: string, complaints: string[]) {
    this.child = child;
    this.url = url;
    this.complaints = complaints;
  }

  /** Rejects if it does not come to serve. */
  static async start(flags: readonly string[]): Promise<ServerProcess> {
    const bin = join(packageRoot(), "bin", "sparq.mjs");
    const args = [bin, "serve", "--port", "0", "--log-level", "warn", ...flags];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    const complaints: string[] = [];
    createInterface({ input: child.stderr! }).on("line", (line) => complaints.push(line));
    const url = new Promise<string>((resolve, reject) => {
      createInterface({ input: child.stdout! }).on("line", (line) => {
        const found = /^sparq: serving .* at (http\S+)/.exec(line)?.[1];
        if (found !== undefined) resolve(found);
      });
      child.on("error", reject);
      child.on("exit", (code) => reject(new Error(`the server ended with code ${code}: ${complaints.join("\n")}`)));
      setTimeout(() => reject(new Error("the server did not come up")), PATIENCE_MS).unref();
    });
    try {
      return new ServerProcess(child, await url, complaints);
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Resident memory in bytes; null where the system does not tell. */
  memory(): number | null {
    if (process.platform !== "linux" || !this.running) return null;
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.child.pid}/status`, "utf8"))?.[1];
    return kilobytes === undefined ? null : 1024 * Number(kilobytes);
  }

  /** Sends SIGTERM; the exit code, or the signal that it took to end it. */
  async stop(): Promise<number | string> {
    if (this.running) {
      const ended = once(this.child, "exit");
      this.child.kill("SIGTERM");
      const late = setTimeout(() => this.child.kill("SIGKILL"), PATIENCE_MS);
      await ended;
      clearTimeout(late);
    }
    return this.child.exitCode ?? this.child.signalCode ?? "unknown";
  }
}
