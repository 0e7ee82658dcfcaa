/** Where a command writes; tests put their own in. */
export interface CliIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Whether progress bars make sense. */
  readonly interactive: boolean;
  /** Aborted when the user or the system asks the program to stop. */
  readonly stop: AbortSignal;
  /** Ends the process although something is still under way that cannot be called off. */
  readonly abandon: (exitCode: number) => void;
}

/** The process's own streams and signals. A second SIGINT or SIGTERM ends the process at once. */
export function processIo(): CliIo {
  const stop = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) process.exit(130);
    stop.abort(new Error("stopped by a signal"));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  // A reader that has seen enough (`| head`) is no fault.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
  return {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    interactive: process.stderr.isTTY === true,
    stop: stop.signal,
    abandon: (exitCode) => process.exit(exitCode),
  };
}
