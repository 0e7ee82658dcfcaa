import type { Observation, Traffic } from "../../../attention/types.ts";
import { addTraffic } from "../../../server/engine/step-report.ts";
import { type Distribution, divergence } from "../../accuracy/divergence.ts";
import { mean } from "../../statistics.ts";
import type { LayerAgreement } from "../types.ts";
import { NO_TRAFFIC } from "./metered-runner.ts";

/** One item's rows as a variant has them. */
export interface DecodedRows {
  readonly predictions: readonly Distribution[];
  /** Null of a model that reads no cache of ours. */
  readonly traffic: Traffic | null;
  /** Sums, by layer. */
  readonly observed: readonly Observation[];
}

/** What a variant's rows have come to beside dense attention's, item by item. */
export class RowTally {
  private readonly kl: number[] = [];
  private readonly klMax: number[] = [];
  private readonly top1: number[] = [];
  private traffic: Traffic | null = NO_TRAFFIC;
  private observed: readonly Observation[] = [];

  /** Mutates. */
  add(reference: readonly Distribution[], { predictions, traffic, observed }: DecodedRows): void {
    const divergences = predictions.map((own, i) => divergence(reference[i]!, own));
    this.kl.push(mean(divergences));
    this.klMax.push(Math.max(...divergences));
    this.top1.push(predictions.filter(({ top }, i) => top === reference[i]!.top).length / predictions.length);
    this.traffic = this.traffic === null || traffic === null ? null : addTraffic(this.traffic, traffic);
    this.observed = observed.map((layer, i) => sumOf(layer, this.observed[i]));
  }

  rows() {
    const { kl, klMax, top1, traffic } = this;
    return { kl, klMax, top1, traffic, layers: this.observed.map(average) };
  }
}

function sumOf(a: Observation, b: Observation | undefined): Observation {
  if (b === undefined) return a;
  return {
    rows: a.rows + b.rows,
    recall: a.recall + b.recall,
    massKept: a.massKept + b.massKept,
    alpha: a.alpha + b.alpha,
  };
}

/** Zeros of no rows. */
function average({ rows, recall, massKept, alpha }: Observation): LayerAgreement {
  const share = (sum: number) => (rows === 0 ? 0 : Number((sum / rows).toPrecision(5)));
  return { rows, recall: share(recall), massKept: share(massKept), alpha: share(alpha) };
}
