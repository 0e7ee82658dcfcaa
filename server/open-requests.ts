import { EventEmitter, once } from "node:events";
import type { Server } from "node:http";

/** Counts a server's requests that have not got their whole answer. */
export class OpenRequests {
  private open = 0;
  private readonly events = new EventEmitter();

  constructor(server: Server) {
    server.on("request", (_request, response) => {
      this.open += 1;
      response.once("close", () => {
        this.open -= 1;
        if (this.open === 0) this.events.emit("done");
      });
    });
  }

  /** Resolves when there is none, at once if so. */
  async allDone(): Promise<void> {
    if (this.open > 0) await once(this.events, "done");
  }
}
