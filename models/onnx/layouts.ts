import { ModelError } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import type { Slot } from "./dense-attention.ts";
import { describeNode } from "./graph.ts";
import type { FoundAttention } from "./match.ts";

/** A hypothesis of where queries, keys and values lie in their projections. */
export interface Layout {
  readonly name: string;
  readonly query: Slot;
  readonly key: Slot;
  readonly value: Slot;
}

/**
 * The layouts that an attention's projections could have by their widths, likeliest first.
 * @throws ModelError "attention_unproven" when the widths fit no known layout of config.json's heads
 */
export function possibleLayouts(found: FoundAttention, config: ModelConfig): Layout[] {
  const { query, key, value } = found;
  const d = config.headDim;
  const queries = config.heads * d;
  const keys = config.kvHeads * d;
  const plain = (offset: number): Slot => ({ offset, headStride: d });
  const layouts: Layout[] = [];
  if (query.tensor === key.tensor && key.tensor === value.tensor) {
    if (query.width === queries + 2 * keys) {
      const interleaved = (part: number): Slot => ({ offset: part * d, headStride: 3 * d });
      if (config.heads === config.kvHeads) {
        layouts.push({
          name: "fused projection [heads, 3, head dim]",
          query: interleaved(0),
          key: interleaved(1),
          value: interleaved(2),
        });
      }
      layouts.push({
        name: "fused projection, queries then keys then values",
        query: plain(0),
        key: plain(queries),
        value: plain(queries + keys),
      });
    }
  } else if (key.tensor === value.tensor) {
    if (query.width === queries && key.width === 2 * keys) {
      layouts.push({
        name: "fused projection of keys then values",
        query: plain(0),
        key: plain(0),
        value: plain(keys),
      });
    }
  } else if (query.width === queries && key.width === keys && value.width === keys) {
    layouts.push({ name: "separate projections", query: plain(0), key: plain(0), value: plain(0) });
  }
  if (layouts.length > 0) return layouts;
  const widths = [query, key, value].map(({ tensor, width }) => `${width} ("${tensor}")`);
  throw new ModelError(
    "attention_unproven",
    `attention cannot be proven: layer ${found.layer}, ${describeNode(found.core)}: the projections of query, key and ` +
      `value are ${widths.join(", ")} wide, which does not fit ${config.heads} heads and ${config.kvHeads} KV heads of ${d}`,
  );
}
