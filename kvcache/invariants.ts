import type { PoolSnapshot } from "./block-pool.ts";

/** Everything that the cache's bookkeeping knows, copied at one moment. */
export interface CacheSnapshot extends PoolSnapshot {
  /** Known prefixes and the blocks that hold them. */
  readonly prefixes: readonly (readonly [key: string, block: number])[];
  readonly tables: readonly { readonly id: string; readonly blocks: readonly number[] }[];
}

/** All violations, one sentence each; empty when the bookkeeping is sound. Does not mutate, does not throw. */
export function checkInvariants(snapshot: CacheSnapshot): string[] {
  const { total, free, cached, refCounts, prefixes, tables } = snapshot;
  const violations: string[] = [];
  const owned = refCounts.filter((count) => count > 0).length;

  if (refCounts.length !== total) violations.push(`${refCounts.length} reference counts for ${total} blocks`);
  if (free.length + cached.length + owned !== total) {
    violations.push(`${free.length} free + ${cached.length} cached + ${owned} owned is not ${total}`);
  }

  const states = new Map<number, string[]>();
  const enter = (block: number, state: string) => {
    if (!(block >= 0 && block < total)) violations.push(`${state} block ${block} is outside the pool of ${total}`);
    states.set(block, [...(states.get(block) ?? []), state]);
  };
  for (const block of free) enter(block, "free");
  for (const block of cached) enter(block, "cached");
  for (const [block, count] of refCounts.entries()) if (count > 0) enter(block, "owned");
  for (const [block, names] of states) {
    if (names.length > 1) violations.push(`block ${block} is ${names.join(" and ")}`);
  }

  const holders = new Array<number>(total).fill(0);
  for (const { id, blocks } of tables) {
    if (new Set(blocks).size !== blocks.length) violations.push(`table ${id} holds a block twice: ${blocks}`);
    for (const block of blocks) {
      if (block in holders) holders[block] = holders[block]! + 1;
      else violations.push(`table ${id} holds block ${block}, outside the pool of ${total}`);
    }
  }
  const places = new Map<number, number>();
  for (const { id, blocks } of tables) {
    for (const [place, block] of blocks.entries()) {
      const other = places.get(block) ?? place;
      if (other !== place)
        violations.push(`table ${id} holds block ${block} as page ${place}, another as page ${other}`);
      places.set(block, place);
    }
  }
  for (const [block, count] of refCounts.entries()) {
    if (count !== holders[block])
      violations.push(`block ${block} counts ${count} holders, ${holders[block]} tables hold it`);
  }

  const known = new Set(prefixes.map(([, block]) => block));
  if (new Set(prefixes.map(([key]) => key)).size !== prefixes.length) violations.push("a prefix is held twice");
  if (known.size !== prefixes.length) violations.push("a block holds two prefixes");
  for (const block of cached) if (!known.has(block)) violations.push(`cached block ${block} holds no prefix`);
  for (const block of free) if (known.has(block)) violations.push(`free block ${block} holds a prefix`);
  for (const block of known) {
    if (!(block >= 0 && block < total)) violations.push(`a prefix is in block ${block}, outside the pool of ${total}`);
  }
  return violations;
}
