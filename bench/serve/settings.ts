import { flagOf } from "../../server/cli/options.ts";
import { toFlags } from "../options.ts";
import { type BenchRecord, RecordError } from "../record/record.ts";
import type { ServeOptions } from "./command.ts";

type Settings = Readonly<Record<string, unknown>>;

/** What must be the same for figures to be compared; rates and limits are the figures' labels. */
export function settingsOf(options: ServeOptions): Settings {
  const { endpoint, requests, inputTokens, sharedPrefixTokens, ignoreEos, extraBody } = options;
  const { outputTokens = null, data = null } = options;
  const prompts = { inputTokens, outputTokens, sharedPrefixTokens, data };
  const burstiness = written(options.burstiness);
  return { endpoint, requests, burstiness, ...prompts, ignoreEos, extraBody, goodput: options.goodput ?? null };
}

/** Throws RecordError for a baseline of another load: before anything is measured. */
export function checkSettings(settings: Settings, baseline: BenchRecord, path: string): void {
  for (const [name, value] of Object.entries(settings)) {
    const [now, then] = [JSON.stringify(value), JSON.stringify(baseline.settings?.[name])];
    if (now !== then) throw new RecordError(`${path} was measured with ${flagOf(name)} ${then}, not ${now}`);
  }
}

/** For the record: without the values of headers and what else a URL may have of secrets. */
export function commandOf(options: ServeOptions): string {
  const { header, ignoreEos, url, goodput, extraBody, rate, burstiness, ...rest } = options;
  const limits = Object.entries(goodput ?? {}).map(([name, value]) => `${name}:${value}`);
  const flags = toFlags({
    url: url === undefined ? undefined : new URL(url).origin + new URL(url).pathname,
    ...rest,
    rate: rate.map(written).join(","),
    burstiness: written(burstiness),
    goodput: limits.length === 0 ? undefined : limits.join(","),
    extraBody: Object.keys(extraBody).length === 0 ? undefined : `'${JSON.stringify(extraBody)}'`,
  });
  const headers = header.map(([name]) => ` --header '${name}: ...'`);
  return `sparq bench serve ${flags}${ignoreEos ? "" : " --no-ignore-eos"}${headers.join("")}`;
}

/** Infinity is no JSON. */
function written(value: number): number | "inf" {
  return value === Number.POSITIVE_INFINITY ? "inf" : value;
}
