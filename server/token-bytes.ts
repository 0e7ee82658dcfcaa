/** A decoder of tokenizer.json, as far as it says how tokens spell bytes. */
interface Decoder {
  readonly config: { readonly type: string };
  /** Of a "Sequence". */
  readonly decoders?: readonly Decoder[];
}

/**
 * For tokenizers that write bytes into their tokens: from a token as the vocabulary spells it to its bytes. Null for a
 * token, or a tokenizer, that spells text.
 */
export function byteSpelling(decoder: Decoder | null): (token: string) => Uint8Array | null {
  const types = typesOf(decoder);
  if (types.includes("ByteLevel")) return ofByteLevel;
  if (types.includes("ByteFallback")) return ofByteFallback;
  return () => null;
}

function typesOf(decoder: Decoder | null): string[] {
  return decoder === null ? [] : [decoder.config.type, ...(decoder.decoders ?? []).flatMap(typesOf)];
}

/**
 * The characters that byte-level BPE (GPT-2's `bytes_to_unicode`) writes for bytes: printable ones of Latin-1 stand for
 * themselves, the others in order for those from U+0100 on.
 */
const byteOfCharacter = new Map<string, number>();
{
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let others = 0;
  for (let byte = 0; byte < 256; byte++) {
    byteOfCharacter.set(String.fromCodePoint(printable(byte) ? byte : 0x100 + others++), byte);
  }
}

const characterOfByte = new Map([...byteOfCharacter].map(([character, byte]) => [byte, character]));

/** Any bytes as byte-level BPE writes them. */
export function spellByteLevel(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => characterOfByte.get(byte)).join("");
}

function ofByteLevel(token: string): Uint8Array | null {
  const bytes = Array.from(token, (character) => byteOfCharacter.get(character));
  return bytes.every((byte) => byte !== undefined) ? Uint8Array.from(bytes) : null;
}

function ofByteFallback(token: string): Uint8Array | null {
  const hex = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
  return hex === undefined ? null : Uint8Array.of(Number.parseInt(hex, 16));
}
