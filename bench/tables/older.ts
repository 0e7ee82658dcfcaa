import type { HealthReport } from "../health/run.ts";
import type { StepFigures } from "../overhead/figures.ts";
import type { OverheadReport } from "../overhead/report.ts";
import type { PaceResult } from "../pace/run.ts";
import type { SpeculationResult } from "../speculation/run.ts";
import { markdownTable } from "./markdown.ts";

/** Tables of results that are no records: each has a format of its own. */

interface Recall {
  readonly results: readonly {
    readonly mode: string;
    readonly accuracy: number;
    readonly standardError: number;
    readonly trafficRatio: number | null;
  }[];
}

/** A row for each model, a column for each mode of attention. */
export function recallTable(models: Readonly<Record<string, Recall>>): string {
  const modes = Object.values(models)[0]!.results.map(({ mode }) => mode);
  const rows = Object.entries(models).map(([model, { results }]) => [
    model,
    ...modes.map((mode) => {
      const { accuracy, standardError, trafficRatio } = results.find((result) => result.mode === mode)!;
      const error = standardError > 0 ? ` ± ${(100 * standardError).toFixed(1)}` : "";
      return `${(100 * accuracy).toFixed(1)}${error} %${trafficRatio === null ? "" : ` (${trafficRatio.toFixed(3)})`}`;
    }),
  ]);
  return markdownTable(["", ...modes], rows);
}

export function paceTable({ results }: { readonly results: readonly PaceResult[] }): string {
  const rows = results.map(({ slowdown, alone, beside, firstTokenSeconds }) => [
    slowdown === 0 ? "no limit" : slowdown,
    ...[alone.medianMs, alone.p99Ms, beside.medianMs, beside.p99Ms].map(short),
    short(beside.p99Ms / alone.p99Ms),
    short(firstTokenSeconds),
  ]);
  const times = ["alone, median ms", "p99", "beside, median ms", "p99", "p99 ratio"];
  return markdownTable(["--prefill-slowdown", ...times, "prompt's first token, s"], rows);
}

export function speculationTable({ results }: { readonly results: readonly SpeculationResult[] }): string {
  const rows = results.map((result) => {
    const [median, low, high] = result.ratio.map((ratio) => ratio.toFixed(2));
    return [
      ...[result.task, result.repeats ? "yes" : "no", result.batch, result.tokens],
      ...[result.plain.toFixed(0), result.drafted.toFixed(0), `${median} (${low}-${high})`],
      `${result.acceptedDraftTokens} of ${result.draftTokens}`,
      `${result.steps} instead of ${result.plainSteps}`,
    ];
  });
  const head = ["task", "quotes", "batch", "tokens", "tokens/s without", "with drafts", "ratio (quartiles)"];
  return markdownTable([...head, "right of drafted", "steps"], rows);
}

export function overheadTable({ served, direct, ...speeds }: OverheadReport): string {
  const fields: readonly [string, keyof StepFigures][] = [
    ["from one to the next", "period"],
    ["graph", "graph"],
    ["sampling", "sampling"],
    ["gap between native calls", "gap"],
    ["of it, from result to next call", "between"],
    ["processor time of the JavaScript thread", "thread"],
  ];
  return markdownTable(
    ["of a step, ms", "server", "plain loop"],
    [
      ...fields.map(([title, field]) => [title, short(served[field]), short(direct[field])]),
      ["tokens/s", short(speeds.servedTokensPerSecond), short(speeds.directTokensPerSecond)],
    ],
  );
}

export function healthTable({ phases }: HealthReport): string {
  return markdownTable(
    ["", "probes", "texts", "median, ms", "p99", "longest"],
    phases.map(({ name, probes, texts, medianMs, p99Ms, mostMs }) => [
      ...[name, probes, texts],
      ...[medianMs, p99Ms, mostMs].map(short),
    ]),
  );
}

/** Three digits; nothing for what is not known. */
function short(value: number | null): string {
  return value === null ? "" : String(Number(value.toPrecision(3)));
}
