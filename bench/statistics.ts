/** The middle of the values; the mean of the two middle ones of an even number. Throws RangeError for none. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which a share `q` (0..1) of the values lies, interpolated. Throws RangeError for none. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) throw new RangeError("there is no quantile of no values");
  const sorted = [...values].sort((a, b) => a - b);
  const place = q * (sorted.length - 1);
  const below = sorted[Math.floor(place)]!;
  const above = sorted[Math.ceil(place)]!;
  return below + (above - below) * (place - Math.floor(place));
}

/** Throws RangeError for no values. */
export function mean(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError("there is no mean of no values");
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Of the mean of independent values: their sample standard deviation over sqrt(n). NaN for fewer than two. */
export function standardError(values: readonly number[]): number {
  const centre = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}
