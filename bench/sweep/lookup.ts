import { keyOf, type Measurement } from "../record/measurement.ts";
import { names } from "./measurements.ts";
import { type Cell, cellsOf } from "./plan.ts";

/** Figures of one record by their name and labels. */
export class Figures {
  readonly variants: readonly string[];
  readonly cells: readonly Cell[];
  private readonly byKey: ReadonlyMap<string, Measurement>;

  constructor(measurements: readonly Measurement[]) {
    this.byKey = new Map(measurements.map((one) => [keyOf(one), one]));
    const steps = measurements.filter(({ name }) => name === names.step).map(({ labels }) => labels);
    const numbers = (label: string) =>
      [...new Set(steps.map((labels) => labels[label] as number))].sort((a, b) => a - b);
    this.variants = [...new Set(steps.map(({ variant }) => variant as string))];
    this.cells = cellsOf(numbers("context"), numbers("batch")).filter((cell) =>
      steps.some(({ context, batch }) => context === cell.context && batch === cell.batch),
    );
  }

  of(name: string, labels: Measurement["labels"]): Measurement | undefined {
    return this.byKey.get(keyOf({ name, labels }));
  }
}
