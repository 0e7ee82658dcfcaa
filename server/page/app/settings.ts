import type { Stats } from "./stats.ts";

/** What the person at the page has set. Null is the server's default. */
export interface Settings {
  readonly mode: "dense" | "sparq" | null;
  readonly r: number | null;
  readonly k: number | null;
  readonly temperature: number;
  readonly maxTokens: number | null;
  readonly seed: number | null;
  readonly system: string;
}

export const defaultSettings: Settings = {
  mode: null,
  r: null,
  k: null,
  temperature: 0.7,
  maxTokens: 512,
  seed: null,
  system: "",
};

/** Settings of an earlier visit over the defaults; what has another type than the default's is dropped. */
export function restoreSettings(stored: unknown): Settings {
  if (typeof stored !== "object" || stored === null) return defaultSettings;
  const given = stored as Record<string, unknown>;
  const wholeOrNull = (value: unknown) => (Number.isSafeInteger(value) ? (value as number) : null);
  const { temperature, system, mode } = given;
  return {
    mode: mode === "dense" || mode === "sparq" ? mode : null,
    r: wholeOrNull(given.r),
    k: wholeOrNull(given.k),
    temperature: typeof temperature === "number" && temperature >= 0 ? temperature : defaultSettings.temperature,
    maxTokens: "maxTokens" in given ? wholeOrNull(given.maxTokens) : defaultSettings.maxTokens,
    seed: wholeOrNull(given.seed),
    system: typeof system === "string" ? system : "",
  };
}

export interface Attention {
  readonly mode: "dense" | "sparq";
  readonly r: number;
  readonly k: number;
}

/** The attention that the settings mean on this server: its defaults where they say nothing, within its model's ranges. */
export function attentionOf({ mode, r, k }: Settings, stats: Stats): Attention {
  const within = (value: number, most: number) => Math.min(Math.max(1, value), most);
  return {
    mode: stats.attention.mode === "onnx" ? "dense" : (mode ?? stats.attention.mode),
    r: within(r ?? stats.attention.r, stats.head_size),
    k: within(k ?? stats.attention.k, stats.context_length),
  };
}

/** The fields of a request that come from the settings. Attention that nobody has touched is left to the server. */
export function requestFields(settings: Settings, stats: Stats | null) {
  const { temperature, maxTokens, seed, mode, r, k } = settings;
  // A model that runs as it is has one way to attend.
  const fixed = stats?.attention.mode === "onnx";
  const set = fixed ? [] : Object.entries({ mode, r, k }).filter(([, value]) => value !== null);
  // Before the server has told its ranges, what is set goes as it is.
  const attention = stats ? attentionOf(settings, stats) : Object.fromEntries(set);
  return {
    temperature,
    ...(maxTokens === null ? {} : { max_tokens: maxTokens }),
    ...(seed === null ? {} : { seed }),
    ...(set.length === 0 ? {} : { sparq: mode === "dense" ? { mode } : attention }),
  };
}
