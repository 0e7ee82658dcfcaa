/** One time series of an exposition. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

const sampleLine = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const labelPair = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y;

/** Reads Prometheus's text format 0.0.4, strictly. Throws Error for the first line that breaks it. */
export function parseExposition(text: string): Map<string, Family> {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const families = new Map<string, { name: string; type: string; help: string; samples: Sample[] }>();
  let current: { name: string; type: string; help: string; samples: Sample[] } | undefined;
  for (const line of text.split("\n")) {
    const header = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)$/.exec(line);
    if (line === "") continue;
    if (header?.[1] === "HELP") {
      const [, , name, help] = header as unknown as [string, string, string, string];
      if (families.has(name)) throw new Error(`${name} is described twice`);
      current = { name, type: "", help, samples: [] };
      families.set(name, current);
    } else if (header?.[1] === "TYPE") {
      if (current?.name !== header[2] || current?.type !== "") throw new Error(`a type out of place: ${line}`);
      current!.type = header[3]!;
    } else if (line.startsWith("#")) throw new Error(`no comment is expected: ${line}`);
    else addSample(current, line);
  }
  for (const family of families.values()) check(family);
  return families;
}

function addSample(family: { name: string; type: string; samples: Sample[] } | undefined, line: string): void {
  const parts = sampleLine.exec(line);
  if (parts === null) throw new Error(`not a sample: ${line}`);
  const [, name, labels = "", value] = parts as unknown as [string, string, string | undefined, string];
  const suffix = family && name.startsWith(family.name) ? name.slice(family.name.length) : undefined;
  const allowed = { histogram: ["_bucket", "_sum", "_count"], summary: ["", "_sum", "_count"] }[family?.type ?? ""] ?? [
    "",
  ];
  if (family === undefined || suffix === undefined || !allowed.includes(suffix)) {
    throw new Error(`${name} is not of the family above it`);
  }
  family.samples.push({ name, labels: parseLabels(labels), value: parseValue(value, line) });
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  labelPair.lastIndex = 0;
  while (labelPair.lastIndex < text.length) {
    const pair = labelPair.exec(text);
    if (pair === null) throw new Error(`not labels: ${text}`);
    if (pair[1]! in labels) throw new Error(`${pair[1]} is given twice: ${text}`);
    labels[pair[1]!] = pair[2]!;
  }
  return labels;
}

function parseValue(text: string, line: string): number {
  const special: Record<string, number> = { "+Inf": Infinity, "-Inf": -Infinity, NaN: Number.NaN, Nan: Number.NaN };
  const value = special[text] ?? Number(text);
  if (Number.isNaN(value) && !(text in special)) throw new Error(`not a number: ${line}`);
  return value;
}

/** What promtool checks of a family as a whole. */
function check({ name, type, samples }: Family): void {
  if (!["counter", "gauge", "histogram", "summary"].includes(type)) throw new Error(`${name} is of type "${type}"`);
  const series = samples.map((sample) => `${sample.name} ${JSON.stringify(Object.entries(sample.labels).sort())}`);
  if (new Set(series).size < series.length) throw new Error(`${name} has a series twice`);
  if (type === "counter" && samples.some(({ value }) => !(value >= 0))) throw new Error(`${name} counts below zero`);
  if (type === "counter" && !name.endsWith("_total")) throw new Error(`${name} is a counter, and must end in _total`);
  if (type === "histogram") checkHistogram(name, samples);
}

function checkHistogram(name: string, samples: readonly Sample[]): void {
  const groups = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { le: _, ...others } = sample.labels;
    const key = JSON.stringify(Object.entries(others).sort());
    groups.set(key, [...(groups.get(key) ?? []), sample]);
  }
  for (const [labels, group] of groups) {
    const buckets = group.filter((sample) => sample.name.endsWith("_bucket"));
    const counts = buckets.map(({ value }) => value);
    const bounds = buckets.map((bucket) => parseValue(bucket.labels.le ?? "", bucket.name));
    const total = group.find((sample) => sample.name.endsWith("_count"))?.value;
    const rising = (values: number[]) => values.every((value, i) => i === 0 || value >= values[i - 1]!);
    if (!rising(counts) || !rising(bounds)) throw new Error(`${name} ${labels}: its buckets do not rise`);
    if (bounds.at(-1) !== Infinity || counts.at(-1) !== total)
      throw new Error(`${name} ${labels}: +Inf is not the count`);
  }
}

/** The value of one series; throws Error if there is none. */
export function sampleValue(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Record<string, string> = {},
): number {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ""));
  const found = family?.samples.filter((sample) => {
    return sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value);
  });
  if (found?.length !== 1) throw new Error(`${found?.length ?? 0} series of ${name} ${JSON.stringify(labels)}`);
  return found[0]!.value;
}
