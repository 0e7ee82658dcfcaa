import { ModelError } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import type { Slot } from "./dense-attention.ts";
import { describeNode } from "./graph.ts";
import { isHeadNorm, type Operand } from "./head-norm.ts";
import type { FoundAttention } from "./match.ts";

/** A hypothesis of where queries, keys and values lie in their projections. */
export interface Layout {
  readonly name: string;
  readonly query: Slot;
  readonly key: Slot;
  readonly value: Slot;
}

/** A way to lay out all three: which of them share a projection, how wide it is, and where each begins. */
interface Scheme {
  readonly name: string;
  /** For queries, keys and values. */
  readonly parts: readonly { readonly width: number; readonly slot: Slot; readonly shared: boolean }[];
}

/**
 * The layouts that an attention's projections could have by their widths, likeliest first. What a norm of the heads makes is
 * the heads alone, one after the other.
 * @throws ModelError "attention_unproven" when the widths fit no known layout of the configuration's heads
 */
export function possibleLayouts(found: FoundAttention, config: ModelConfig): Layout[] {
  const operands = [found.query, found.key, found.value];
  const alone: Slot = { offset: 0, headStride: config.headDim };
  const layouts = schemes(config).flatMap(({ name, parts }) => {
    const tensors = (shared: boolean) =>
      operands.filter((operand, part) => parts[part]!.shared === shared && !isHeadNorm(operand)).map(tensorOf);
    const together = new Set(tensors(true));
    const apart = tensors(false);
    const fits = operands.every((operand, part) => isHeadNorm(operand) || operand.width === parts[part]!.width);
    if (!fits || together.size > 1 || new Set([...together, ...apart]).size < together.size + apart.length) return [];
    const [query, key, value] = operands.map((operand, part) => (isHeadNorm(operand) ? alone : parts[part]!.slot));
    return [
      { name: operands.some(isHeadNorm) ? `${name}, norms of heads` : name, query: query!, key: key!, value: value! },
    ];
  });
  if (layouts.length > 0) return layouts;
  const widths = operands.map((operand) => `${isHeadNorm(operand) ? "?" : operand.width} ("${operand.tensor}")`);
  const { heads, kvHeads, headDim } = config;
  throw new ModelError(
    "attention_unproven",
    `attention cannot be proven: layer ${found.layer}, ${describeNode(found.core)}: the projections of query, key and ` +
      `value are ${widths.join(", ")} wide, which does not fit ${heads} heads and ${kvHeads} KV heads of ${headDim}`,
  );
}

const tensorOf = ({ tensor }: Operand) => tensor;

function schemes({ heads, kvHeads, headDim }: ModelConfig): Scheme[] {
  const queries = heads * headDim;
  const keys = kvHeads * headDim;
  const own = [queries, keys, keys];
  const plain = (offset: number): Slot => ({ offset, headStride: headDim });
  const all = (slots: readonly Slot[]) => slots.map((slot) => ({ width: queries + 2 * keys, slot, shared: true }));
  const interleaved = [0, 1, 2].map((part): Slot => ({ offset: part * headDim, headStride: 3 * headDim }));
  return [
    ...(heads === kvHeads ? [{ name: "fused projection [heads, 3, head dim]", parts: all(interleaved) }] : []),
    {
      name: "fused projection, queries then keys then values",
      parts: all([plain(0), plain(queries), plain(queries + keys)]),
    },
    {
      name: "fused projection of keys then values",
      parts: own.map((width, part) =>
        part === 0
          ? { width, slot: plain(0), shared: false }
          : { width: 2 * keys, slot: plain((part - 1) * keys), shared: true },
      ),
    },
    { name: "separate projections", parts: own.map((width) => ({ width, slot: plain(0), shared: false })) },
  ];
}
