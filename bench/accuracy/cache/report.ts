import type { AttentionSettings } from "../../../attention/types.ts";
import type { Machine } from "../../machine.ts";
import { bucketsOf, expectedRecall } from "../bucket-recall.ts";
import type { Distribution } from "../divergence.ts";
import { type Comparison, ComparisonTally, type Estimate, estimate, meanSurprise } from "./tally.ts";
import { type Group, groups, type Layout, type Variant } from "./variants.ts";

export interface VariantResult {
  readonly group: Group;
  readonly name: string;
  readonly layout: Layout;
  readonly attention: AttentionSettings;
  /** With dense attention over an f32 cache. */
  readonly againstDense: Comparison;
  /** With SparQ at the default r and k, f32 cache and scan, exact top-k; null for dense attention and other r and k. */
  readonly againstSparq: Comparison | null;
  readonly perplexity: number;
  /** Its logarithm less that of the reference, nats a token. */
  readonly logPerplexityDifference: Estimate;
  /** Bytes of the cache that were read, over what dense attention reads of an f32 cache. */
  readonly bytesOfReference: number;
  /** The same over what dense attention would have read of this cache. */
  readonly bytesOfDense: number;
  /** Of bucketed top-k, by the formula; null for an exact one. */
  readonly expectedRecall: number | null;
}

export interface CacheReport {
  readonly machine: Machine;
  readonly model: string;
  readonly texts: readonly { readonly name: string; readonly sha256: string }[];
  readonly windows: number;
  readonly context: number;
  readonly rows: number;
  readonly results: readonly VariantResult[];
}

/** One window's rows as a variant has them. */
export interface WindowRows {
  readonly rows: readonly Distribution[];
  /** The tokens that follow. */
  readonly next: readonly number[];
  readonly bytes: number;
  readonly denseBytes: number;
}

/** What one variant has come to over the windows so far. */
export class VariantTally {
  readonly variant: Variant;
  private readonly dense = new ComparisonTally();
  private readonly sparq = new ComparisonTally();
  private readonly surprises: number[] = [];
  private bytes = 0;
  private denseBytes = 0;

  constructor(variant: Variant) {
    this.variant = variant;
  }

  add(
    { rows, next, bytes, denseBytes }: WindowRows,
    dense: readonly Distribution[],
    sparq: readonly Distribution[],
  ): void {
    this.dense.add(dense, rows);
    if (this.approximatesSparq) this.sparq.add(sparq, rows);
    this.surprises.push(meanSurprise(rows, next));
    this.bytes += bytes;
    this.denseBytes += denseBytes;
  }

  /** `reference` has seen the same windows. */
  result(reference: VariantTally): VariantResult {
    const { group, name, layout, attention } = this.variant;
    const { k, local, bucketTopK } = attention;
    const older = k - local;
    return {
      group,
      name,
      layout,
      attention,
      againstDense: this.dense.result(),
      againstSparq: this.approximatesSparq ? this.sparq.result() : null,
      perplexity: Math.exp(estimate(this.surprises).mean),
      logPerplexityDifference: estimate(this.surprises.map((surprise, i) => surprise - reference.surprises[i]!)),
      bytesOfReference: this.bytes / reference.denseBytes,
      bytesOfDense: this.bytes / this.denseBytes,
      expectedRecall: bucketTopK ? expectedRecall(older, bucketTopK, bucketsOf(older, bucketTopK)) : null,
    };
  }

  private get approximatesSparq(): boolean {
    return this.variant.attention.mode === "sparq" && this.variant.group !== "rk";
  }
}

const titles: Readonly<Record<Group, string>> = {
  dtype: "Dense attention by cache dtype",
  scan: "SparQ by scan dtype, f32 cache",
  cache: "SparQ by cache dtype, int8 scan",
  buckets: "SparQ with bucketed top-k, f32 cache and scan",
  page: "SparQ by page size, f32 cache, int8 scan",
  rk: "SparQ by r and k, f32 cache and scan",
  rules: "SparQ with other rules, f32 cache and scan",
};

/** A table for each group. */
export function formatReport({ results, windows, rows, context, model }: CacheReport): string {
  const perplexity = results[0]!.perplexity.toFixed(2);
  const head = `${model}: ${windows} windows of ${context} tokens, the last ${rows} decoded; perplexity ${perplexity} densely\n`;
  return [
    head,
    ...groups.map((group) =>
      formatGroup(
        group,
        results.filter((r) => r.group === group),
      ),
    ),
  ].join("");
}

function formatGroup(group: Group, results: readonly VariantResult[]): string {
  if (results.length === 0) return "";
  const lines = [
    `\n${titles[group]}\n`,
    "| | KL from dense | largest | same top-1, % | perplexity, % | KL from SparQ f32 | same top-1, % | bytes / dense f32 | bytes / dense |",
    "|---|---|---|---|---|---|---|---|---|",
    ...results.map((result) => `| ${cellsOf(result).join(" | ")} |`),
  ];
  return `${lines.join("\n")}\n`;
}

function cellsOf(result: VariantResult): string[] {
  const { name, expectedRecall: recall, againstDense, againstSparq, logPerplexityDifference: change } = result;
  return [
    recall === null ? name : `${name}, recall ${recall.toFixed(3)}`,
    scientific(againstDense.kl),
    againstDense.klMax.toExponential(1),
    percent(againstDense.agreement, 2),
    percent(change, 3),
    againstSparq ? scientific(againstSparq.kl) : "",
    againstSparq ? percent(againstSparq.agreement, 2) : "",
    result.bytesOfReference.toFixed(3),
    result.bytesOfDense.toFixed(3),
  ];
}

/** "1.23e-5 ± 0.04e-5" */
function scientific({ mean, standardError }: Estimate): string {
  if (mean === 0) return "0";
  const exponent = Math.floor(Math.log10(mean));
  const scaled = (value: number) => `${(value / 10 ** exponent).toFixed(2)}e${exponent}`;
  return standardError === null ? scaled(mean) : `${scaled(mean)} ± ${scaled(standardError)}`;
}

function percent({ mean, standardError }: Estimate, digits: number): string {
  const [value, error] = [mean, standardError].map((share) => ((share ?? 0) * 100).toFixed(digits));
  return standardError === null ? value! : `${value} ± ${error}`;
}
