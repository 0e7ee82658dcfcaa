import type { Sequence, SequenceRequest } from "./sequence.ts";

/** A prompt that one sequence computes for others. */
interface SharedPrompt {
  readonly batch: string;
  readonly promptIds: readonly number[];
  leader: Sequence;
  readonly followers: Sequence[];
}

/**
 * Choices of one prompt, until it has been computed: the first to come computes it, the others wait for it here, in no
 * queue. Choices come in one batch with the very same array as prompt.
 */
export class PromptChoices {
  private readonly byPrompt = new Map<readonly number[], SharedPrompt>();
  /** Of every leader and every follower. */
  private readonly bySequence = new Map<Sequence, SharedPrompt>();
  private followerCount = 0;

  /** Sequences that wait here. */
  get waiting(): number {
    return this.followerCount;
  }

  /**
   * Takes in a new sequence. True if it waits here from now on; false if it is on its own, perhaps as the one that others
   * will wait for. Mutates.
   */
  join(sequence: Sequence, { batch, promptIds, scorePrompt }: SequenceRequest): boolean {
    if (batch === undefined) return false;
    const shared = this.byPrompt.get(promptIds);
    if (shared === undefined) {
      const own = { batch, promptIds, leader: sequence, followers: [] };
      this.byPrompt.set(promptIds, own);
      this.bySequence.set(sequence, own);
      return false;
    }
    // Who wants its prompt's log-probabilities computes the prompt.
    if (shared.batch !== batch || scorePrompt) return false;
    shared.followers.push(sequence);
    this.bySequence.set(sequence, shared);
    this.followerCount += 1;
    return true;
  }

  /** Whether the sequence waits here. Does not mutate. */
  waitsHere(sequence: Sequence): boolean {
    const shared = this.bySequence.get(sequence);
    return shared !== undefined && shared.leader !== sequence;
  }

  /**
   * A sequence ends. If others wait for it, the first of them is to take its place, and is returned: the rest wait for that
   * one. Mutates.
   */
  leave(sequence: Sequence): Sequence | null {
    const shared = this.bySequence.get(sequence);
    if (shared === undefined) return null;
    this.bySequence.delete(sequence);
    if (shared.leader !== sequence) {
      shared.followers.splice(shared.followers.indexOf(sequence), 1);
      this.followerCount -= 1;
      return null;
    }
    const next = shared.followers.shift();
    if (next === undefined) {
      this.byPrompt.delete(shared.promptIds);
      return null;
    }
    this.followerCount -= 1;
    shared.leader = next;
    return next;
  }

  /** The sequence's prompt has been computed: those that waited for it no longer do, and are returned. Mutates. */
  computed(sequence: Sequence): Sequence[] {
    const shared = this.bySequence.get(sequence);
    if (shared?.leader !== sequence) return [];
    this.byPrompt.delete(shared.promptIds);
    this.bySequence.delete(sequence);
    for (const follower of shared.followers) this.bySequence.delete(follower);
    this.followerCount -= shared.followers.length;
    return shared.followers;
  }
}
