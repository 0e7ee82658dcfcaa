import type { SampledRow, Traffic } from "../../../attention/types.ts";
import type { RunnerOutput, StepRunner } from "../../../server/engine/engine.ts";
import { addTraffic } from "../../../server/engine/step-report.ts";
import type { PlannedSequence } from "../../../server/engine/types.ts";

export const NO_TRAFFIC: Traffic = { scoreBytes: 0, gatherBytes: 0, denseBytes: 0, denseEquivalentBytes: 0 };

/** Rows of a sequence that are measured together. */
interface Part {
  /** Of its sequence in the step. */
  readonly index: number;
  /** What its traffic counts for; null: rows of a context, which all attend densely. */
  readonly meter: string | null;
  readonly sequence: PlannedSequence;
}

/**
 * Runs an engine's steps in parts, first the contexts' rows, then those of each meter, so that what each reads is known. A
 * row's result does not depend on what else is in its step.
 */
export class MeteredRunner implements StepRunner {
  private readonly session: StepRunner;
  private readonly meterOf: (requestId: string) => string;
  private readonly meters = new Map<string, Traffic>();

  /** It owns the session. */
  constructor(session: StepRunner, meterOf: (requestId: string) => string) {
    this.session = session;
    this.meterOf = meterOf;
  }

  /** What this meter's rows have read so far. */
  traffic(meter: string): Traffic {
    return this.meters.get(meter) ?? NO_TRAFFIC;
  }

  async step(sequences: readonly PlannedSequence[]): Promise<RunnerOutput> {
    const parts = sequences.flatMap((sequence, index) => this.partsOf(sequence, index));
    const meters = [...new Set(parts.map(({ meter }) => meter))].sort(
      (a, b) => Number(a !== null) - Number(b !== null),
    );
    const sampled: (readonly SampledRow[])[] = sequences.map(() => []);
    let traffic = NO_TRAFFIC;
    for (const meter of meters) {
      const own = parts.filter((part) => part.meter === meter);
      const output = await this.session.step(own.map(({ sequence }) => sequence));
      traffic = addTraffic(traffic, output.traffic);
      if (meter !== null) this.meters.set(meter, addTraffic(this.traffic(meter), output.traffic));
      for (const [i, { index }] of own.entries())
        if (output.sampled[i]!.length > 0) sampled[index] = output.sampled[i]!;
    }
    return { sampled, traffic };
  }

  copyBlock(from: number, to: number): void {
    this.session.copyBlock(from, to);
  }

  close(): void {
    this.session.close();
  }

  private partsOf(sequence: PlannedSequence, index: number): Part[] {
    const { tokenIds, contextLength, denseUntil, blockTable, requestId } = sequence;
    const meter = this.meterOf(requestId);
    const dense = Math.min(Math.max(0, denseUntil - contextLength), tokenIds.length);
    if (dense === 0) return [{ index, meter, sequence }];
    if (dense === tokenIds.length) return [{ index, meter: null, sequence }];
    const { sampling: _, ...unsampled } = sequence;
    const context = { ...unsampled, tokenIds: tokenIds.slice(0, dense), blockTable, logits: "none" as const };
    const rest = { ...sequence, tokenIds: tokenIds.slice(dense), contextLength: contextLength + dense };
    return [
      { index, meter: null, sequence: context },
      { index, meter, sequence: rest },
    ];
  }
}
