import { norm } from "./norm.ts";
import type { Parts } from "./parts.ts";

/** The stream that layers read and add to. An addition waits for the next norm: the two are one operator. */
export class Residual {
  readonly #parts: Parts;
  #sum: string;
  #pending: string | undefined;

  constructor(parts: Parts, start: string) {
    this.#parts = parts;
    this.#sum = start;
  }

  add(value: string): void {
    this.#pending = value;
  }

  /** Makes the pending addition, where rows may stop before a layer or go on with it. */
  relay(name: string, layer: number): void {
    const { graph, config } = this.#parts;
    this.#sum = graph.node("Relay", name, [this.#sum, this.#pending!], {
      domain: "sparq",
      attributes: { layer, hidden_size: config.hiddenSize },
    });
    this.#pending = undefined;
  }

  /** Keeps only the rows that the graph's input `rows` names. */
  gather(rows: string): void {
    const gathered = (value: string, name: string) =>
      this.#parts.graph.node("Gather", name, [value, rows], { attributes: { axis: 1 } });
    this.#sum = gathered(this.#sum, "logit_residual");
    if (this.#pending !== undefined) this.#pending = gathered(this.#pending, "logit_pending");
  }

  /** The stream's norm. `weights` is the norm's name in the source. */
  normalised(name: string, weights: string): string {
    const { output, sum } = norm(this.#parts, name, weights, this.#sum, this.#pending);
    this.#sum = sum;
    this.#pending = undefined;
    return output;
  }
}
