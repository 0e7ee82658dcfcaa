/** Characters (UTF-16 code units) that two texts have in common from their start. */
export function commonCharacters(a: string, b: string): number {
  const most = Math.min(a.length, b.length);
  let i = 0;
  while (i < most && a[i] === b[i]) i += 1;
  return i;
}

/** Of a text that costs so many nats. */
export function bitsPerCharacter(nats: number, characters: number): number {
  if (characters === 0) throw new RangeError("there are no bits per character of an empty text");
  return nats / Math.LN2 / characters;
}
