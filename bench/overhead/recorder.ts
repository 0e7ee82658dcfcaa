import type { SequencesOutput, StepSession } from "../../attention/session.ts";
import type { StepSequence } from "../../attention/types.ts";
import type { StepRunner } from "../../server/engine/engine.ts";
import { threadSeconds } from "./thread-time.ts";

/** A step as its caller saw it; times in seconds, of the same clock. */
export interface RecordedStep {
  readonly sequences: readonly StepSequence[];
  /** When the session was called, and when the caller had the result. */
  readonly called: number;
  readonly returned: number;
  /** Inside the native call, and of that for sampling. */
  readonly nativeSeconds: number;
  readonly samplingSeconds: number;
  /** What the JavaScript thread had computed when the session was called; null if it was not asked, or the system does not tell. */
  readonly threadSeconds: number | null;
}

/** Between steps that ask for the thread's time, which takes a twentieth of a millisecond. */
const ASK_EVERY = 16;

/** Notes each step on its way to a session. */
export class Recorder implements StepRunner {
  readonly session: StepSession;
  readonly layers: number | undefined;
  private recorded: RecordedStep[] = [];

  constructor(session: StepSession) {
    this.session = session;
    this.layers = session.layers;
  }

  async step(sequences: readonly StepSequence[]): Promise<SequencesOutput> {
    const thread = this.recorded.length % ASK_EVERY === 0 ? threadSeconds() : null;
    const called = performance.now() / 1000;
    const output = await this.session.step(sequences);
    this.recorded.push({
      sequences,
      called,
      returned: performance.now() / 1000,
      nativeSeconds: output.seconds,
      samplingSeconds: output.samplingSeconds,
      threadSeconds: thread,
    });
    return output;
  }

  copyBlock(from: number, to: number): void {
    this.session.copyBlock(from, to);
  }

  close(): void {
    this.session.close();
  }

  /** What has been recorded since the last call. Mutates. */
  take(): readonly RecordedStep[] {
    const { recorded } = this;
    this.recorded = [];
    return recorded;
  }
}
