import { Presets, SingleBar } from "cli-progress";
import type { CliIo } from "./io.ts";

export interface Progress {
  /** `done` of `total` in any unit; a total of 0 is not known yet. */
  readonly update: (done: number, total: number, what: string) => void;
  /** Takes the bar away; may be called more than once. */
  readonly end: () => void;
}

/** A progress bar on a terminal; elsewhere a line on stderr for each thing that is begun. */
export function progressLine(io: CliIo): Progress {
  if (!io.interactive) return progressLog(io);
  let bar: SingleBar | undefined;
  return {
    update(done, total, what) {
      if (bar === undefined) {
        bar = new SingleBar({ format: "{what} {bar} {percentage}%", clearOnComplete: true }, Presets.shades_classic);
        bar.start(total, done, { what });
      }
      bar.setTotal(total);
      bar.update(done, { what });
    },
    end() {
      bar?.stop();
      bar = undefined;
    },
  };
}

function progressLog(io: CliIo): Progress {
  let last = "";
  return {
    update(_done, _total, what) {
      if (what !== last) io.err(`${what}\n`);
      last = what;
    },
    end() {},
  };
}
