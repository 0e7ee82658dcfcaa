/** IEEE 754 binary16, given as its 16 bits. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The bits of the IEEE 754 binary16 that equals `value` exactly; undefined if none does. */
export function exactHalf(value: number): number | undefined {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 2 ** -14) {
    const exponent = Math.floor(Math.log2(magnitude));
    const fraction = magnitude * 2 ** (10 - exponent) - 1024;
    const exact = Number.isInteger(fraction) && fraction >= 0 && fraction < 1024 && exponent <= 15;
    return exact ? sign | ((exponent + 15) << 10) | fraction : undefined;
  }
  const fraction = magnitude * 2 ** 24;
  return Number.isInteger(fraction) ? sign | fraction : undefined;
}
