/** A number for people: few digits, thousands apart. */
export function number(value: number, digits = 0): string {
  return value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

/** Tokens a second: a decimal while it matters. */
export function rate(value: number): string {
  return number(value, value >= 0.05 && value < 99.95 ? 1 : 0);
}

const units = ["B", "kB", "MB", "GB", "TB"] as const;

/** Bytes in the decimal unit that leaves one to three digits before the point. */
export function bytes(value: number): string {
  let unit = 0;
  let scaled = value;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${number(scaled, unit > 0 && scaled < 99.95 ? 1 : 0)} ${units[unit]}`;
}

/** Milliseconds as "85 ms" or "1.2 s". */
export function duration(ms: number): string {
  return ms < 999.5 ? `${number(ms)} ms` : `${number(ms / 1000, ms < 9995 ? 2 : 1)} s`;
}

export function percent(share: number): string {
  return `${number(share * 100, share > 0 && share < 0.0995 ? 1 : 0)} %`;
}
