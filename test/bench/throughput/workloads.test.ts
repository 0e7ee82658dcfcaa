import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { documentWorkload, questions } from "../../../bench/throughput/documents.ts";
import { lengthBounds, syntheticWorkload } from "../../../bench/throughput/synthetic.ts";
import { checkFits, digestOf, promptTokens, type WorkloadModel } from "../../../bench/throughput/workload.ts";
import { loadModel } from "../../../models/load.ts";
import { createTokenizer } from "../../../server/tokenizer.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-workloads-"));
afterAll(() => rmSync(folder, { recursive: true }));

let model: WorkloadModel;
beforeAll(async () => {
  const { config, tokenizer } = await loadModel("tiny-llama");
  model = {
    tokenizer: createTokenizer(tokenizer, config),
    vocabSize: config.vocabSize,
    contextLength: config.maxPositions,
  };
});

const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const sizes = {
  requests: fc.integer({ min: 1, max: 12 }),
  inputTokens: fc.integer({ min: 1, max: 300 }),
  outputTokens: fc.integer({ min: 1, max: 200 }),
  seed: seeds,
};

describe("random tokens", { timeout: 300_000 }, () => {
  const options = fc.record({ ...sizes, rangeRatio: fc.double({ min: 0, max: 0.99, noNaN: true }) });

  it("are as many requests as asked for, of lengths within vLLM's bounds, and no token is special", () => {
    fc.assert(
      fc.property(options, (given) => {
        const { requests } = syntheticWorkload(given, model);
        expect(requests).toHaveLength(given.requests);
        for (const { promptIds, outputTokens } of requests) {
          const [least, most] = lengthBounds(given.inputTokens, given.rangeRatio);
          expect(promptIds.length).toBeGreaterThanOrEqual(least);
          expect(promptIds.length).toBeLessThanOrEqual(most);
          const [leastOut, mostOut] = lengthBounds(given.outputTokens, given.rangeRatio);
          expect(outputTokens).toBeGreaterThanOrEqual(leastOut);
          expect(outputTokens).toBeLessThanOrEqual(mostOut);
          for (const id of promptIds) expect(id >= 0 && id < model.vocabSize).toBe(true);
        }
      }),
      { numRuns: 40 },
    );
    const { tokenizer } = model;
    const { requests } = syntheticWorkload(
      { requests: 4, inputTokens: 2000, outputTokens: 1, rangeRatio: 0, seed: 3 },
      model,
    );
    const drawn = [...new Set(requests.flatMap(({ promptIds }) => promptIds))];
    for (const id of drawn) expect(tokenizer.decode([id], { skipSpecialTokens: false })).toBe(tokenizer.decode([id]));
  });

  it("have exactly the lengths asked for without a range", () => {
    fc.assert(
      fc.property(fc.record(sizes), (given) => {
        for (const { promptIds, outputTokens } of syntheticWorkload({ ...given, rangeRatio: 0 }, model).requests) {
          expect([promptIds.length, outputTokens]).toEqual([given.inputTokens, given.outputTokens]);
        }
      }),
      { numRuns: 40 },
    );
  });

  it("are what the seed says, and others with another seed", () => {
    fc.assert(
      fc.property(fc.record({ ...sizes, inputTokens: fc.integer({ min: 8, max: 100 }) }), (given) => {
        const all = { ...given, rangeRatio: 0.5 };
        const workload = syntheticWorkload(all, model);
        expect(syntheticWorkload(all, model)).toEqual(workload);
        expect(digestOf(syntheticWorkload({ ...all, seed: given.seed + 1 }, model))).not.toBe(digestOf(workload));
      }),
      { numRuns: 40 },
    );
  });

  it("have vLLM's bounds, and one token at the least", () => {
    expect(lengthBounds(101, 0.5)).toEqual([50, 152]);
    expect(lengthBounds(1, 0.9)).toEqual([1, 2]);
    expect(lengthBounds(512, 0)).toEqual([512, 512]);
  });
});

describe("documents", { timeout: 300_000 }, () => {
  const options = fc.record({
    requests: fc.integer({ min: 1, max: 20 }),
    inputTokens: fc.integer({ min: 150, max: 900 }),
    data: fc.constant(join(folder, "text.txt")),
    outputTokens: fc.integer({ min: 1, max: 50 }),
    questions: fc.integer({ min: 1, max: questions.length }),
    seed: seeds,
  });

  beforeAll(() => {
    writeFileSync(join(folder, "text.txt"), Array.from({ length: 600 }, (_, i) => `word ${i}`).join(" "));
  });

  it("are prompts of exactly the length, in groups that have their beginning in common", () => {
    fc.assert(
      fc.property(options, (given) => {
        const { requests, facts } = documentWorkload(given, model);
        expect(requests).toHaveLength(given.requests);
        expect(facts.documents).toBe(Math.ceil(given.requests / given.questions));
        const longest = 60;
        const groups = new Map<string, number>();
        for (const { promptIds, outputTokens } of requests) {
          expect([promptIds.length, outputTokens]).toEqual([given.inputTokens, given.outputTokens]);
          const beginning = promptIds.slice(0, given.inputTokens - longest).join();
          groups.set(beginning, (groups.get(beginning) ?? 0) + 1);
        }
        expect(groups.size).toBe(facts.documents);
        for (const size of groups.values()) expect(size).toBeLessThanOrEqual(given.questions);
        expect(documentWorkload(given, model).requests).toEqual(requests);
      }),
      { numRuns: 12 },
    );
  });

  it("end with their questions, which all are different", () => {
    const given = { requests: 8, inputTokens: 200, outputTokens: 1, questions: 8, seed: 1 };
    const ends = documentWorkload(given, model).requests.map(({ promptIds }) => model.tokenizer.decode(promptIds));
    for (const question of questions) {
      expect(ends.filter((text) => text.endsWith(`\n\n${question}\n`))).toHaveLength(1);
    }
  });

  it("go on at the text's beginning where it is too short", () => {
    const data = join(folder, "short.txt");
    writeFileSync(data, "The river ran past the mill. ".repeat(3));
    const given = { requests: 2, inputTokens: 400, outputTokens: 1, questions: 2, data, seed: 1 };
    for (const { promptIds } of documentWorkload(given, model).requests) expect(promptIds).toHaveLength(400);
  });

  it("need room beside the question, and places to begin", () => {
    const given = { requests: 8, inputTokens: 10, outputTokens: 1, questions: 8, seed: 1 };
    expect(() => documentWorkload(given, model)).toThrow(/questions take up to \d+ tokens, so prompts of 10 have no/);
    const data = join(folder, "word.txt");
    writeFileSync(data, "mill");
    const many = { ...given, requests: 50, inputTokens: 200, questions: 1, data };
    expect(() => documentWorkload(many, model)).toThrow(/50 documents are wanted of a text of \d tokens/);
    expect(() => documentWorkload({ ...many, data: join(folder, "none.txt") }, model)).toThrow(/none\.txt: ENOENT/);
  });
});

it("says which request does not fit, with the numbers", () => {
  const options = { requests: 3, inputTokens: 90, outputTokens: 11, rangeRatio: 0, seed: 1 };
  const workload = syntheticWorkload(options, model);
  expect(promptTokens(workload)).toBe(270);
  checkFits(workload, 101, "the model has");
  expect(() => checkFits(workload, 100, "the model has")).toThrow(
    "request 1 of 3 takes 101 tokens (90 of its prompt and 11 of its answer); the model has 100",
  );
});
