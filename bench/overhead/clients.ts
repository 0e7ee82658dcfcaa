import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { packageRoot } from "../../attention/root.ts";
import type { ClientOrder, ClientResult } from "./client.ts";

/** The process that asks. */
export class Clients {
  private readonly child: ChildProcess = fork(join(packageRoot(), "dist", "bench", "overhead", "client.js"), {
    execArgv: [], // A profiler of this process is not meant for that one.
  });

  /** Asks them all at once; resolves when all have their answers. Rejects if one has none, or not so many tokens. */
  async ask(url: string, bodies: readonly string[], tokens: number): Promise<ClientResult> {
    this.child.send({ url, bodies } satisfies ClientOrder);
    const [result] = (await once(this.child, "message")) as [ClientResult];
    for (const answer of result.answers) {
      if ("error" in answer) throw new Error(`a client got no answer: ${answer.error}`);
      if (answer.tokens !== tokens) throw new Error(`a client got ${answer.tokens} tokens instead of ${tokens}`);
    }
    return result;
  }

  close(): void {
    this.child.kill();
  }
}
