/** Writes safetensors files, whatever is in them. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A file with these tensors, its header padded by spaces as writers do for alignment. */
export function safetensorsBytes(
  tensors: readonly TensorToWrite[],
  { padding = 0, metadata }: { readonly padding?: number; readonly metadata?: Record<string, string> } = {},
): Uint8Array {
  let end = 0;
  const entries: [string, unknown][] = metadata ? [["__metadata__", metadata]] : [];
  for (const { name, dtype, shape, bytes } of tensors) {
    entries.push([name, { dtype, shape, data_offsets: [end, end + bytes.length] }]);
    end += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)) + " ".repeat(padding));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(json.length));
  return new Uint8Array(Buffer.concat([start, json, ...tensors.map(({ bytes }) => bytes)]));
}
