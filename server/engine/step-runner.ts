import type { SampledRow, Traffic } from "../../attention/types.ts";
import type { PlannedSequence } from "./types.ts";

/** What runs a step: a model with its paged store. */
export interface StepRunner {
  /** Runs the sequences' rows. Rejects if the step failed: then nothing it wrote is trusted. Never called twice at once. */
  step(sequences: readonly PlannedSequence[]): Promise<RunnerOutput>;
  /** Copies a block of the store, all of it. Never called while a step runs. */
  copyBlock(from: number, to: number): void;
  close(): void;
  /** The model's, if rows may stop between them. */
  readonly layers?: number | undefined;
}

export interface RunnerOutput {
  /** For each sequence, in order, what its rows were sampled to; empty for "none". */
  readonly sampled: readonly (readonly SampledRow[])[];
  /** For each sequence, in order, what its rows go on with if they stopped between layers. */
  readonly hidden?: readonly (Float32Array | undefined)[];
  /** For each sequence, in order, why it could not run, if it could not: the others have run nevertheless. Absent: all have. */
  readonly errors?: readonly (Error | undefined)[];
  readonly traffic: Traffic;
  /** Wall time of the step's attention, where it is measured. */
  readonly attentionSeconds?: number;
}
