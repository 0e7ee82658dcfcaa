import type { CacheManager } from "../../kvcache/cache-manager.ts";
import { DraftCosts } from "./draft-costs.ts";
import { rowsOf, type Share } from "./share.ts";
import { chancesOf, draftLengths, type SpeculationSettings } from "./speculation.ts";

/** Puts drafts into steps where they are worth it, and learns from the steps what they cost. */
export class Drafting {
  private readonly cache: CacheManager;
  private readonly settings: SpeculationSettings;
  /** Null if the cost is given. */
  private readonly costs: DraftCosts | null;

  constructor(cache: CacheManager, settings: SpeculationSettings) {
    this.cache = cache;
    this.settings = settings;
    this.costs = settings.learnCost ? new DraftCosts(settings.stepCost) : null;
  }

  /**
   * Gives those of the shares that decode drafts, as far as they are worth it and `budget` rows and the available blocks
   * allow. Mutates the shares, and reserves blocks.
   */
  addTo(shares: readonly Share[], budget: number): void {
    const { maxDraft, stepCost } = this.settings;
    const decoding = shares.filter((share) => share.decoding);
    // All are asked, whether they may run or not: what comes next says how good they were.
    const proposals = decoding.flatMap((share) => {
      const { speculation, left } = share.sequence;
      // The request's last token never runs, and a draft of all but it gives that one too.
      const draft = speculation?.propose(Math.min(maxDraft, left - 1));
      return draft === undefined ? [] : [{ share, draft, chances: chancesOf(draft, speculation!.acceptance) }];
    });
    const learned = this.costs === null ? stepCost : this.costs.stepCost(decoding.length);
    // Without drafts it would be measured, but not with rows of prompts.
    const cost = decoding.length < shares.length ? (learned ?? stepCost) : learned;
    if (cost === null) return;
    const chances = proposals.map((proposal) => proposal.chances);
    let free = budget;
    for (const [i, wanted] of draftLengths(chances, decoding.length, cost).entries()) {
      const { share, draft } = proposals[i]!;
      const { sequence } = share;
      let length = sequence.nextRows(1 + free, wanted).rows - 1;
      while (length > 0 && !this.cache.canReserve(sequence.id, sequence.tokens.length + length)) length -= 1;
      if (length === 0) continue;
      this.cache.reserve(sequence.id, sequence.tokens.length + length);
      share.draft = draft.tokens.slice(0, length);
      free -= length;
    }
  }

  /** Takes in what a step of these shares took. One that has rows of prompts tells nothing of drafts. Mutates. */
  observe(shares: readonly Share[], seconds: number): void {
    if (!shares.every(({ decoding }) => decoding)) return;
    const draftRows = shares.reduce((sum, { draft }) => sum + draft.length, 0);
    this.costs?.observe({ seconds, rows: rowsOf(shares), draftRows });
  }
}
