import type { Sequence } from "./sequence.ts";

/** Requests of one priority. */
interface Level {
  /** Those that have run before and lost their blocks, in the order in which they began. */
  readonly resumed: Sequence[];
  /** New ones by tenant, each tenant's in order of arrival; the tenant whose turn it is comes first. */
  readonly tenants: Map<string, Sequence[]>;
}

/**
 * Who runs next: the lowest priority number first; in it, who has run before, then the tenants in turn, one request each,
 * first come, first served within a tenant. So a tenant with a thousand requests delays another's first by one request,
 * and a request's wait depends on its tenant's own requests and on how many tenants there are, never on their load.
 */
export class WaitingQueue {
  private readonly levels = new Map<number, Level>();
  private count = 0;

  get size(): number {
    return this.count;
  }

  /** Queues a request that has not run yet, behind its tenant's others; or before them all, in place of one that left. Mutates. */
  add(sequence: Sequence, first = false): void {
    const { tenants } = this.levelOf(sequence.priority);
    const queue = tenants.get(sequence.tenant);
    if (queue === undefined) tenants.set(sequence.tenant, [sequence]);
    else if (first) queue.unshift(sequence);
    else queue.push(sequence);
    this.count += 1;
  }

  /** Puts a request in the place of one that waits and has not run yet; false if there is none. Mutates. */
  replace(old: Sequence, next: Sequence): boolean {
    const queue = this.levels.get(old.priority)?.tenants.get(old.tenant) ?? [];
    const place = queue.indexOf(old);
    if (place >= 0) queue[place] = next;
    return place >= 0;
  }

  /** Queues a request that has run before. Mutates. */
  putBack(sequence: Sequence): void {
    const { resumed } = this.levelOf(sequence.priority);
    const place = resumed.findIndex((other) => sequence.compare(other) < 0);
    resumed.splice(place < 0 ? resumed.length : place, 0, sequence);
    this.count += 1;
  }

  /** Does not mutate. */
  first(): Sequence | undefined {
    if (this.count === 0) return undefined;
    const { resumed, tenants } = this.levels.get(Math.min(...this.levels.keys()))!;
    if (resumed.length > 0) return resumed[0];
    const [queue] = tenants.values();
    return queue![0];
  }

  /** Takes the first one out to run; its tenant's next turn comes after all others'. Mutates. */
  shift(): Sequence | undefined {
    const sequence = this.first();
    if (sequence === undefined) return undefined;
    const { tenants } = this.levels.get(sequence.priority)!;
    const queue = tenants.get(sequence.tenant);
    const inTurn = queue?.[0] === sequence;
    this.remove(sequence);
    if (inTurn && queue.length > 0) {
      tenants.delete(sequence.tenant);
      tenants.set(sequence.tenant, queue);
    }
    return sequence;
  }

  /** Forgets a request; false if it does not wait here. Mutates. */
  remove(sequence: Sequence): boolean {
    const level = this.levels.get(sequence.priority);
    if (level === undefined) return false;
    const queue = level.tenants.get(sequence.tenant);
    if (!(removeFrom(level.resumed, sequence) || (queue !== undefined && removeFrom(queue, sequence)))) return false;
    this.count -= 1;
    if (queue?.length === 0) level.tenants.delete(sequence.tenant);
    if (level.resumed.length === 0 && level.tenants.size === 0) this.levels.delete(sequence.priority);
    return true;
  }

  private levelOf(priority: number): Level {
    let level = this.levels.get(priority);
    if (level === undefined) {
      level = { resumed: [], tenants: new Map() };
      this.levels.set(priority, level);
    }
    return level;
  }
}

function removeFrom(list: Sequence[], sequence: Sequence): boolean {
  const place = list.indexOf(sequence);
  if (place < 0) return false;
  list.splice(place, 1);
  return true;
}
