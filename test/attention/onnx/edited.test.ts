import { rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openDecoder } from "../../../attention/onnx/session.ts";
import { greedySampling } from "../../../attention/sampling.ts";
import type { StepSession } from "../../../attention/session.ts";
import {
  DataType,
  floatTensor,
  type GraphProto,
  int64Tensor,
  makeNode,
  readModel,
  tensorToFloat32,
  type ValueInfoProto,
  writeModel,
} from "../../../models/onnx/proto.ts";
import { editedExport, nthNode, readConfig, readGolden, removeTemporaryFolders } from "../../models/exports.ts";
import { dense } from "../../support/dense.ts";

removeTemporaryFolders();

const variant = "llama-optimum";
const BLOCK = 8;

async function open(folder: string): Promise<StepSession> {
  const shape = { ...readConfig(folder), certain: true };
  const decoder = await openDecoder(join(folder, "model.onnx"), shape, { threads: 1 });
  return decoder.begin({ blocks: 16, blockSize: BLOCK });
}

/** Makes a value of the graph's surface float16, with a cast between it and the graph. */
function narrow(graph: GraphProto, value: ValueInfoProto, side: "input" | "output"): void {
  const inner = `${value.name} in float32`;
  value.type!.tensorType!.elemType = DataType.FLOAT16;
  for (const node of graph.node) {
    node.input = node.input.map((name) => (name === value.name ? inner : name));
    if (side === "output") node.output = node.output.map((name) => (name === value.name ? inner : name));
  }
  if (side === "input") graph.node.unshift(makeNode("Cast", [value.name], [inner], { to: DataType.FLOAT }));
  else graph.node.push(makeNode("Cast", [inner], [value.name], { to: DataType.FLOAT16 }));
}

/** Gives logits of the last token alone, as exports for generation do. */
function lastLogits(graph: GraphProto): void {
  for (const node of graph.node) node.output = node.output.map((name) => (name === "logits" ? "all logits" : name));
  graph.initializer.push(
    int64Tensor("last", [1], [-1]),
    int64Tensor("end", [1], [2 ** 31]),
    int64Tensor("axis", [1], [1]),
  );
  graph.node.push(makeNode("Slice", ["all logits", "last", "end", "axis"], ["logits"]));
}

/** Whether each position's logits, asked for in these parts, are the golden ones up to `tolerance`. */
async function expectGolden(folder: string, ends: readonly number[], tolerance: number): Promise<void> {
  const { prompt, logits } = readGolden(folder);
  const session = await open(folder);
  try {
    let begin = 0;
    for (const end of ends) {
      const step = { ...dense, tokenIds: prompt.slice(begin, end), contextLength: begin, blockTable: [3, 1, 2] };
      const output = await session.step([{ ...step, logits: "all" }]);
      expect(output.errors).toEqual([undefined]);
      const expected = logits.subarray(begin * 56, end * 56);
      expect(output.logits[0]).toHaveLength(expected.length);
      for (const [i, value] of output.logits[0]!.entries())
        expect(Math.abs(value - expected[i]!)).toBeLessThan(tolerance);
      begin = end;
    }
    // Another sequence goes on behind the same blocks, which are read anew.
    const rest = {
      ...dense,
      tokenIds: prompt.slice(16),
      contextLength: 16,
      blockTable: [3, 1, 4],
      logits: "all" as const,
    };
    const [again] = (await session.step([rest])).logits;
    for (const [i, value] of again!.entries()) expect(Math.abs(value - logits[16 * 56 + i]!)).toBeLessThan(tolerance);
  } finally {
    session.close();
  }
}

describe("an export whose caches and logits are float16", () => {
  it("keeps them so, and has the golden logits up to their rounding", async () => {
    const folder = editedExport(variant, (graph) => {
      for (const value of graph.input) if (value.name.startsWith("past_key_values")) narrow(graph, value, "input");
      for (const value of graph.output) narrow(graph, value, "output");
    });
    const decoder = await openDecoder(join(folder, "model.onnx"), { certain: false }, { threads: 1 });
    expect(decoder.signature.slots.map(({ type }) => type)).toEqual(new Array(4).fill("float16"));
    // Keys and values of 2 layers, 2 heads of 8, twice.
    expect(decoder.bytesPerBlock(BLOCK)).toBe(BLOCK * 2 * (4 * 2 * 8 * 2));
    decoder.close();
    await expectGolden(folder, [5, 6, 20], 5e-3);
  });
});

describe("an export that gives the last token's logits only", () => {
  it.each([[variant], ["llama-dynamo-sdpa-18-no-past"], ["llama-script-eager-17-no-past"]])(
    "%s has those of all that are asked for",
    async (name) => {
      await expectGolden(editedExport(name, lastLogits), [5, 6, 20], 2e-5);
    },
  );
});

describe("an export that ONNX Runtime fails to run for some tokens", () => {
  it("fails the sequences that have them, by its words, and no other", async () => {
    const folder = editedExport(variant, (graph) => {
      const embed = nthNode(graph, "Gather");
      const table = graph.initializer.find(({ name }) => embed.input.includes(name))!;
      const rows = tensorToFloat32(table);
      expect(rows).toHaveLength(56 * 24);
      graph.initializer.splice(
        graph.initializer.indexOf(table),
        1,
        floatTensor(table.name, [50, 24], rows.slice(0, 50 * 24)),
      );
    });
    const session = await open(folder);
    try {
      const step = (tokenIds: number[], block: number, contextLength = 0) => {
        return {
          ...dense,
          tokenIds,
          contextLength,
          blockTable: [block],
          logits: "last" as const,
          sampling: [greedySampling],
        };
      };
      const alone = await session.step([step([1, 2, 3], 0)]);
      const { sampled, errors, logits } = await session.step([step([4, 55], 1), step([1, 2, 3], 2), step([52], 3)]);
      expect(errors?.map((error) => error !== undefined)).toEqual([true, false, true]);
      expect(errors?.[0]?.message).toMatch(/Gather.*out of data bounds|indices element out/s);
      expect(sampled.map(({ length }) => length)).toEqual([0, 1, 0]);
      expect(logits.map(({ length }) => length)).toEqual([0, 0, 0]);
      expect(sampled[1]).toEqual(alone.sampled[0]);
      const next = await session.step([step([7], 2, 3), step([7], 0, 3)]);
      expect(next.errors).toEqual([undefined, undefined]);
      expect(next.sampled[0]).toEqual(next.sampled[1]);
    } finally {
      session.close();
    }
  });
});

describe("what is refused when it is opened", () => {
  it("is a file that ONNX Runtime does not read, by its name", async () => {
    const folder = editedExport(variant, (graph) => {
      nthNode(graph, "Softmax").opType = "Softmin";
    });
    await expect(open(folder)).rejects.toMatchObject({
      name: "ModelError",
      code: "unsupported_graph",
      message: expect.stringMatching(/ONNX Runtime cannot open .*model\.onnx: .*Softmin/s),
    });
  });

  it.each<[string, (data: string, model: string) => void, string, RegExp]>([
    ["missing weights", (data) => rmSync(data), "file_missing", /the weights file .* is missing; .* keeps tensor/],
    [
      "truncated weights",
      (data) => truncateSync(data, 100),
      "file_truncated",
      /is truncated: it has 100 bytes, tensor "/,
    ],
    ["a truncated graph", (_, model) => truncateSync(model, 5000), "file_invalid", /\(5000 bytes\) is truncated/],
  ])("are %s, by file and numbers", async (_, damage, code, message) => {
    const folder = editedExport("neox-script-sdpa-18-f16-external");
    const path = join(folder, "model.onnx");
    const model = readModel(path);
    writeModel(path, model, { externalData: { location: "weights.bin", threshold: 64 } });
    damage(join(folder, "weights.bin"), path);
    await expect(open(folder)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it("is a cache that does not grow with the text", async () => {
    const folder = editedExport(variant, (graph) => {
      // The value's present is the new positions alone.
      const concat = graph.node.find(({ output }) => output.includes("present.1.value"))!;
      const key = concat.input.find((name) => !name.startsWith("past_key_values"))!;
      concat.output = concat.output.map((name) => (name === "present.1.value" ? "whole" : name));
      for (const node of graph.node)
        node.input = node.input.map((name) => (name === "present.1.value" ? "whole" : name));
      graph.node.push(makeNode("Identity", [key], ["present.1.value"]));
    });
    await expect(open(folder)).rejects.toThrow(
      'on a prompt of 2 tokens and 2 behind it, the output "present.1.value" is [1, 2, 2, 8], must be [1, 2, 4, 8]',
    );
  });
});
