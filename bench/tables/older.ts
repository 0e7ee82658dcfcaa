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

interface Spread {
  readonly medianMs: number;
  readonly p99Ms: number;
}

interface Pace {
  readonly results: readonly {
    readonly slowdown: number;
    readonly alone: Spread;
    readonly beside: Spread;
    readonly firstTokenSeconds: number;
  }[];
}

export function paceTable({ results }: Pace): string {
  const rows = results.map(({ slowdown, alone, beside, firstTokenSeconds }) => [
    slowdown === 0 ? "no limit" : slowdown,
    ...[alone.medianMs, alone.p99Ms, beside.medianMs, beside.p99Ms].map(short),
    short(beside.p99Ms / alone.p99Ms),
    short(firstTokenSeconds),
  ]);
  const times = ["alone, median ms", "p99", "beside, median ms", "p99", "p99 ratio"];
  return markdownTable(["--prefill-slowdown", ...times, "prompt's first token, s"], rows);
}

interface Speculation {
  readonly results: readonly {
    readonly task: string;
    readonly repeats: boolean;
    readonly batch: number;
    readonly tokens: number;
    readonly plain: number;
    readonly drafted: number;
    readonly ratio: readonly [number, number, number];
    readonly draftTokens: number;
    readonly acceptedDraftTokens: number;
    readonly steps: number;
    readonly plainSteps: number;
  }[];
}

export function speculationTable({ results }: Speculation): string {
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

interface Side {
  readonly period: number;
  readonly graph: number;
  readonly sampling: number;
  readonly gap: number;
  readonly between: number;
  readonly thread: number;
}

interface Overhead {
  readonly served: Side;
  readonly direct: Side;
  readonly servedTokensPerSecond: number;
  readonly directTokensPerSecond: number;
}

export function overheadTable({ served, direct, ...speeds }: Overhead): string {
  const fields: readonly [string, keyof Side][] = [
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

interface Health {
  readonly phases: readonly {
    readonly name: string;
    readonly probes: number;
    readonly texts: number;
    readonly medianMs: number;
    readonly p99Ms: number;
    readonly mostMs: number;
  }[];
}

export function healthTable({ phases }: Health): string {
  return markdownTable(
    ["", "probes", "texts", "median, ms", "p99", "longest"],
    phases.map(({ name, probes, texts, medianMs, p99Ms, mostMs }) => [
      ...[name, probes, texts],
      ...[medianMs, p99Ms, mostMs].map(short),
    ]),
  );
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}
