/**
 * The masses that rank "mass" ranks by, as the reference keeps them; native/mass.h says the same of the kernels'. A state
 * belongs to a layer and to the block in which a sequence begins.
 */
import { sum } from "./reference-math.ts";
import { type Narrow, top } from "./reference-top.ts";

/** What is alive of one KV head: positions, ascending, and the mass of each. */
interface Alive {
  positions: number[];
  mass: number[];
}

export interface MassState {
  /** Rows of the prompt so far, and what each position has of them, by KV head. */
  promptEnd: number;
  readonly prompt: number[][];
  /** Decode rows up to here; undefined before the first. */
  end?: number;
  alive: Alive[];
  /** How far the choices so far were from being others: a choice shows in all rows after it. */
  margin: number;
}

export class ReferenceMass {
  readonly #states = new Map<string, MassState>();
  readonly #kvHeads: number;

  constructor(kvHeads: number) {
    this.#kvHeads = kvHeads;
  }

  /** The state of a sequence that runs rows from `contextLength` on; undefined if its prompt was not tracked from its first row. */
  of(layer: number, firstBlock: number, contextLength: number): MassState | undefined {
    const key = `${layer} ${firstBlock}`;
    if (contextLength === 0) {
      const heads = Array.from({ length: this.#kvHeads }, () => []);
      this.#states.set(key, { promptEnd: 0, prompt: heads, alive: [], margin: Number.POSITIVE_INFINITY });
    }
    return this.#states.get(key);
  }
}

/** A prompt's row: `weights` of each query head over positions `first` on. */
export function addPromptRow(state: MassState, head: number, first: number, weights: readonly number[][]): void {
  const mass = state.prompt[head]!;
  for (let j = 0; j < weights[0]!.length; j++)
    mass[first + j] = (mass[first + j] ?? 0) + sum(weights.map((w) => w[j]!));
}

/** Before a decode row of any KV head. Throws Error for a row that follows neither the prompt nor the last decode row. */
export function beginRow(state: MassState | undefined, position: number): MassState {
  if (state?.promptEnd === position) {
    state.alive = state.prompt.map((mass) => ({ positions: [...mass.keys()], mass: mass.map((x) => x ?? 0) }));
    state.margin = Number.POSITIVE_INFINITY;
    state.end = position;
  }
  if (state?.end !== position) throw new Error(`the masses before position ${position} are not there`);
  return state;
}

/** The positions that a decode row keeps: at most k. The others are gone for good. */
export function keepByMass(
  state: MassState,
  head: number,
  { position, first, k, local, sinks }: { position: number; first: number; k: number; local: number; sinks: number },
): number[] {
  const { positions, mass } = state.alive[head]!;
  const seen = [...positions.keys()].filter((i) => positions[i]! >= first);
  const alive = { positions: [...seen.map((i) => positions[i]!), position], mass: [...seen.map((i) => mass[i]!), 0] };
  const count = alive.positions.length;
  let places = [...alive.positions.keys()];
  if (count > k) {
    const fixed = Math.min(alive.positions.filter((p) => p < sinks).length, k - local);
    const narrow: Narrow = (gap) => (state.margin = Math.min(state.margin, gap));
    const best = top(alive.mass.slice(fixed, count - local), k - local - fixed, narrow).map((i) => i + fixed);
    places = [...places.slice(0, fixed), ...best, ...places.slice(count - local)];
  }
  state.alive[head] = { positions: places.map((i) => alive.positions[i]!), mass: places.map((i) => alive.mass[i]!) };
  return state.alive[head]!.positions;
}

/** Adds the row's weights of each query head over what it kept. */
export function addDecodeRow(state: MassState, head: number, weights: readonly number[][]): void {
  const { mass } = state.alive[head]!;
  for (let i = 0; i < mass.length; i++) mass[i] = mass[i]! + sum(weights.map((w) => w[i]!));
}
