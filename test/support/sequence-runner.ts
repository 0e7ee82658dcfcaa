import { openSession, type Session } from "../../attention/session.ts";
import type { AttentionSettings } from "../../attention/types.ts";
import type { PreparedModel } from "../../models/types.ts";
import { argmax } from "./golden.ts";

export const DENSE: AttentionSettings = {
  mode: "dense",
  r: 1,
  k: 1,
  local: 0,
  meanValue: false,
  groupSum: "softmax",
};

/** A session on one thread with room for one sequence of `positions`. */
export function openFor(model: PreparedModel, positions: number): Promise<Session> {
  const { graphPath, config } = model;
  return openSession({ graphPath, config, blocks: Math.ceil(positions / 64), threads: 1, spinning: false });
}

/** One sequence at a time over a session's whole store, always from block 0 on. */
export class SequenceRunner {
  private readonly session: Session;
  private readonly blockTable: readonly number[];
  private position = 0;

  constructor(session: Session) {
    this.session = session;
    this.blockTable = Array.from({ length: session.blocks }, (_, block) => block);
  }

  /** Forgets the sequence. */
  restart(): this {
    this.position = 0;
    return this;
  }

  /** Runs the next tokens as one step, densely; logits of all of them, or of the last only: [rows, vocab]. */
  async run(tokenIds: readonly number[], logits: "all" | "last" = "all"): Promise<Float32Array> {
    const output = await this.session.step([
      {
        tokenIds,
        contextLength: this.position,
        blockTable: this.blockTable.slice(0, Math.ceil((this.position + tokenIds.length) / this.session.blockSize)),
        attention: DENSE,
        denseUntil: 0,
        logits,
      },
    ]);
    this.position += tokenIds.length;
    return output.logits[0]!;
  }

  /** Runs the tokens cut into chunks of the given sizes, the last size again and again; all rows' logits. */
  async runChunks(tokenIds: readonly number[], sizes: readonly number[]): Promise<Float32Array> {
    const parts: Float32Array[] = [];
    for (let start = 0, i = 0; start < tokenIds.length; i++) {
      const end = start + sizes[Math.min(i, sizes.length - 1)]!;
      parts.push(await this.run(tokenIds.slice(start, end)));
      start = end;
    }
    const whole = new Float32Array(parts.reduce((total, part) => total + part.length, 0));
    let offset = 0;
    for (const part of parts) {
      whole.set(part, offset);
      offset += part.length;
    }
    return whole;
  }

  /** Greedy continuation of a prompt, from position 0. */
  async greedy(prompt: readonly number[], count: number): Promise<number[]> {
    this.restart();
    const generated: number[] = [];
    let next = argmax(await this.run(prompt, "last"));
    for (;;) {
      generated.push(next);
      if (generated.length === count) return generated;
      next = argmax(await this.run([next], "last"));
    }
  }
}
