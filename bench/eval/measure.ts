import { basename } from "node:path";
import { mean } from "../statistics.ts";
import type { Backend } from "./engines/backend.ts";
import type { EvalPlan, Job } from "./plan.ts";
import { randomOf, resultOf, setOf } from "./results.ts";
import type { EvalResult, EvalSet, Item, ScoringItem } from "./types.ts";
import type { Variant } from "./variants.ts";

/** One job's items, and what they are told by. */
export interface ItemSet {
  readonly job: Job;
  readonly items: readonly Item[];
  readonly set: EvalSet;
}

/** Makes a job's items. Throws DataError. */
export function itemsOf({ task, tokens }: Job, { settings, data }: EvalPlan, backend: Backend): ItemSet {
  const file = data.get(task.name);
  const items = task.items({
    data: file,
    n: settings.n,
    tokens: tokens ?? undefined,
    shots: settings.shots,
    count: remembering(backend.count),
    random: randomOf(settings.seed, task.name),
  });
  const counted = items.flatMap((item) => backend.promptTokens(item) ?? []);
  const promptTokens = counted.length === items.length ? mean(counted) : null;
  const source = file === undefined ? "sample" : basename(file);
  return { job: { task, tokens }, items, set: setOf(task.name, tokens, source, items, promptTokens) };
}

/** Passages come again in many items. */
function remembering(count: (text: string) => number): (text: string) => number {
  const known = new Map<string, number>();
  return (text) => {
    const found = known.get(text) ?? count(text);
    known.set(text, found);
    return found;
  };
}

/** Runs a set's items in all variants. */
export async function measure(
  { job: { task, tokens }, items }: ItemSet,
  variants: readonly Variant[],
  backend: Backend,
  onItem: () => void,
): Promise<EvalResult[]> {
  if (task.name === "agreement") return measureAgreement(items.filter(isScored), tokens, variants, backend, onItem);
  const measured = await backend.measure(items, variants, onItem);
  return measured.map((own, v) => resultOf(task, variants[v]!.name, tokens, own.values, own));
}

function isScored(item: Item): item is ScoringItem {
  return item.kind === "score";
}

/** What agreement is stated in. */
const agreementMetrics = [
  ["KL", "lower", "kl"],
  ["largest KL", "lower", "klMax"],
  ["same top-1", "higher", "top1"],
  ["characters before greedy texts part", "higher", "characters"],
] as const;

async function measureAgreement(
  items: readonly ScoringItem[],
  tokens: number | null,
  variants: readonly Variant[],
  backend: Backend,
  onItem: () => void,
): Promise<EvalResult[]> {
  if (backend.agree === undefined) throw new Error("agreement needs a model in this process, not a server's");
  const agreements = await backend.agree(items, variants, onItem);
  return agreementMetrics.flatMap(([metric, better, key]) =>
    agreements.map((agreement, v) => {
      const shown = { name: "agreement", metric, better };
      const result = resultOf(shown, variants[v]!.name, tokens, agreement[key], agreement);
      const sparse = agreement.layers.some(({ rows }) => rows > 0);
      return key === "kl" && sparse ? { ...result, layers: agreement.layers } : result;
    }),
  );
}
