import type { StepInput } from "../types.ts";

/** What a step has to fit. */
export interface StepLimits {
  readonly blocks: number;
  readonly blockSize: number;
  readonly vocabSize: number;
}

/** Throws RangeError for the first sequence or token that does not fit the store or the model, with the numbers. */
export function checkStep(input: StepInput, { blocks, blockSize, vocabSize }: StepLimits): void {
  const { tokenIds, rowStarts, contextLengths, blockTables, blockTableStarts, tail } = input;
  if (tail !== undefined) throw new RangeError("rows cannot stop between the layers of an ONNX model");
  if (contextLengths.length === 0) throw new RangeError("a step needs at least one sequence");
  const foreign = tokenIds.findIndex((token) => token < 0 || token >= vocabSize);
  if (foreign >= 0) {
    throw new RangeError(`tokenIds[${foreign}] is ${tokenIds[foreign]}, the vocabulary has ${vocabSize} tokens`);
  }
  const writers = new Map<number, number>();
  for (const [i, contextLength] of contextLengths.entries()) {
    const rows = rowStarts[i + 1]! - rowStarts[i]!;
    const table = blockTables.subarray(blockTableStarts[i]!, blockTableStarts[i + 1]!);
    const positions = contextLength + rows;
    if (rows < 1) throw new RangeError(`sequence ${i} has no rows`);
    if (contextLength < 0) throw new RangeError(`the context length of sequence ${i} is ${contextLength}`);
    if (table.length * blockSize < positions) {
      throw new RangeError(
        `the block table of sequence ${i} has ${table.length} blocks of ${blockSize} positions; ${contextLength} cached ` +
          `and ${rows} new positions need more`,
      );
    }
    const outside = table.find((block) => block < 0 || block >= blocks);
    if (outside !== undefined) {
      throw new RangeError(`the block table of sequence ${i} has block ${outside}, the store has ${blocks} blocks`);
    }
    for (const block of table.subarray(Math.floor(contextLength / blockSize), Math.ceil(positions / blockSize))) {
      const other = writers.get(block);
      if (other !== undefined) {
        throw new RangeError(`block ${block} would be written by sequence ${other} and again by sequence ${i}`);
      }
      writers.set(block, i);
    }
  }
}
