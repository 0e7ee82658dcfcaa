import { createHash } from "node:crypto";
import type { Traffic } from "../../attention/types.ts";
import { Random } from "../soak/random.ts";
import { mean, standardError } from "../statistics.ts";
import type { Measurement } from "./engines/backend.ts";
import type { EvalResult, EvalSet, Item, Task } from "./types.ts";

/** A result of one variant from its items' values, in their order. */
export function resultOf(
  { name, metric, better, transform }: Pick<Task, "name" | "metric" | "better" | "transform">,
  variant: string,
  tokens: number | null,
  values: readonly number[],
  { traffic, withContexts = false }: Pick<Measurement, "traffic" | "withContexts">,
): EvalResult {
  const centre = mean(values);
  const error = values.length > 1 ? standardError(values) : null;
  // The first-order error of a transformed mean.
  const slope = transform === undefined ? 1 : (transform(centre + 1e-6) - transform(centre - 1e-6)) / 2e-6;
  return {
    task: name,
    variant,
    tokens,
    metric,
    better,
    value: rounded(transform?.(centre) ?? centre),
    stderr: error === null ? null : rounded(error * Math.abs(slope)),
    n: values.length,
    bytesRatio: traffic === null || withContexts ? null : bytesRatio(traffic),
    sparseBytesRatio: traffic === null ? null : sparseBytesRatio(traffic),
    items: values.map(rounded),
  };
}

/** Of all rows; null if there were none. */
export function bytesRatio({ scoreBytes, gatherBytes, denseBytes, denseEquivalentBytes }: Traffic): number | null {
  if (denseEquivalentBytes === 0) return null;
  return rounded((scoreBytes + gatherBytes + denseBytes) / denseEquivalentBytes);
}

/** Of the rows that did not attend densely; null if there were none. */
export function sparseBytesRatio({
  scoreBytes,
  gatherBytes,
  denseBytes,
  denseEquivalentBytes,
}: Traffic): number | null {
  const equivalent = denseEquivalentBytes - denseBytes;
  return equivalent === 0 ? null : rounded((scoreBytes + gatherBytes) / equivalent);
}

/** The numbers that a task's items are made with: its own, whatever other tasks run. */
export function randomOf(seed: number, task: string): Random {
  return new Random(createHash("sha256").update(`${seed} ${task}`).digest().readUInt32LE());
}

/** What all variants were given. */
export function setOf(
  task: string,
  tokens: number | null,
  data: string,
  items: readonly Item[],
  promptTokens: number | null,
): EvalSet {
  const sum = createHash("sha256");
  for (const item of items)
    sum.update(
      JSON.stringify([
        item.context,
        ...(item.kind === "score" ? [item.question ?? [], item.continuation].flat() : [item.question]),
      ]),
    );
  const depths = items.flatMap((item) => (item.kind === "generate" && item.depth !== undefined ? [item.depth] : []));
  return {
    task,
    tokens,
    n: items.length,
    promptTokens: promptTokens === null ? null : Math.round(promptTokens),
    data,
    sha256: sum.digest("hex").slice(0, 16),
    ...(depths.length === items.length ? { depths } : {}),
  };
}

/** Six digits: what is more is noise, and makes files long. */
function rounded(value: number): number {
  return Number(value.toPrecision(6));
}
