import type { StepSequence, TailInput } from "./types.ts";

/**
 * What the sequences that pass through some layers only have in common; undefined if there are none. Throws RangeError where
 * they are not the last ones, or do not agree. Whether layers and lengths fit the model is the native side's check.
 */
export function packTail(sequences: readonly StepSequence[]): TailInput | undefined {
  const firstSequence = sequences.findIndex(({ layers }) => layers !== undefined);
  if (firstSequence < 0) return undefined;
  const tail = sequences.slice(firstSequence).map(({ layers }, i) => {
    if (layers === undefined) {
      throw new RangeError(
        `sequence ${firstSequence + i} passes through all layers, after sequence ${firstSequence}, which does not`,
      );
    }
    return layers;
  });
  const { begin, end } = tail[0]!;
  const other = tail.findIndex((layers) => layers.begin !== begin || layers.end !== end);
  if (other >= 0) {
    const { begin: otherBegin, end: otherEnd } = tail[other]!;
    throw new RangeError(
      `sequence ${firstSequence + other} passes through layers ${otherBegin} to ${otherEnd}, others of the step through ${begin} to ${end}`,
    );
  }
  return { firstSequence, beginLayer: begin, endLayer: end, hidden: join(tail.map(({ hidden }) => hidden)) };
}

/** The rows of each of `sequences` that stopped between layers, as views of `hidden`; undefined for the others. */
export function splitHidden(
  sequences: readonly StepSequence[],
  hidden: Float32Array,
  width: number,
): (Float32Array | undefined)[] {
  let start = 0;
  return sequences.map(({ layers, tokenIds }) => {
    if (layers === undefined || hidden.length === 0) return undefined;
    const end = start + tokenIds.length * width;
    const own = hidden.subarray(start, end);
    start = end;
    return own;
  });
}

function join(parts: readonly (Float32Array | undefined)[]): Float32Array {
  const [only = new Float32Array(0)] = parts;
  if (parts.length === 1) return only;
  const joined = new Float32Array(parts.reduce((sum, part) => sum + (part?.length ?? 0), 0));
  let end = 0;
  for (const part of parts) {
    if (part === undefined) continue;
    joined.set(part, end);
    end += part.length;
  }
  return joined;
}
