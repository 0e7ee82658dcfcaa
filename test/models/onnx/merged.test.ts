import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadModel } from "../../../models/load.ts";
import { attribute } from "../../../models/onnx/graph.ts";
import { takeCacheBranch } from "../../../models/onnx/merged.ts";
import {
  floatTensor,
  graphOf,
  int64Tensor,
  type ModelProto,
  makeNode,
  readModel,
  writeModel,
} from "../../../models/onnx/proto.ts";
import { variantNamed } from "../../support/checkpoints.ts";
import { writeExport } from "../../support/parity-exports.ts";
import { removeTemporaryFolders, temporaryFolder } from "../exports.ts";

removeTemporaryFolders();

/** Optimum's folder of 2023, its merged graph edited. */
function mergedFolder(name = "llama-alone", edit: (model: ModelProto) => void = () => {}): string {
  const folder = writeExport(temporaryFolder(), variantNamed(name), "optimum-2023");
  const model = readModel(join(folder, "model.onnx"));
  edit(model);
  writeModel(join(folder, "decoder_model_merged.onnx"), model);
  renameSync(join(folder, "model.onnx"), join(folder, "spare.onnx"));
  return folder;
}

describe("Optimum's merged decoders", () => {
  it("are found in their folder, and the graph behind a cache is taken", async () => {
    const folder = mergedFolder();
    const { source, report } = await loadModel(folder);
    expect(source).toBe(join(folder, "decoder_model_merged.onnx"));
    expect(report.removedInputs).toEqual(["attention_mask", ...pastOf(2)]);
    // The check is the other graph's logits of a whole prompt.
    expect(report.selfCheck).toBeLessThan(1e-4);
  });

  it.each(["llama-alone", "gpt_neox"])("are two files before: %s's graph for one token", async (name) => {
    const folder = mergedFolder(name);
    mkdirSync(join(folder, "onnx"));
    const model = readModel(join(folder, "decoder_model_merged.onnx"));
    expect(takeCacheBranch(model)).toBe(true);
    writeModel(join(folder, "onnx", "decoder_with_past_model.onnx"), model);
    renameSync(join(folder, "decoder_model_merged.onnx"), join(folder, "other.onnx"));
    const { source, report } = await loadModel(folder);
    expect(source).toBe(join(folder, "onnx", "decoder_with_past_model.onnx"));
    expect(existsSync(source)).toBe(true);
    expect(report.selfCheck).toBeLessThan(1e-4);
  });

  it("are refused when the graph behind a cache is another model than the one for prompts", async () => {
    const folder = mergedFolder("llama-alone", (model) => {
      const [choice] = graphOf(model).node;
      const branch = attribute(choice!, "then_branch")!.g!;
      const head = branch.node.find(({ output }) => output[0] === branch.output[0]!.name)!;
      const [logits] = head.output as [string];
      head.output = ["plain"];
      branch.initializer.push(floatTensor("twice", [], Float32Array.of(2)));
      branch.node.push(makeNode("Mul", ["plain", "twice"], [logits]));
    });
    await expect(loadModel(folder)).rejects.toThrow("the prepared graph is not the same model");
  });

  it("are refused when masks hide a position from the token behind a cache", async () => {
    const folder = mergedFolder("llama-alone", (model) => {
      const branch = attribute(graphOf(model).node[0]!, "then_branch")!.g!;
      branch.initializer.push(int64Tensor("far", [1], [40]), int64Tensor("end", [1], [1 << 20]));
      branch.initializer.push(int64Tensor("axis", [1], [2]));
      const concat = branch.node.find(({ input }) => input[0] === "past_key_values.0.value")!;
      const index = branch.node.indexOf(concat);
      // Keys and values of the most recent 40 positions only.
      for (const part of ["key", "value"]) {
        const joined = branch.node.find(({ input }) => input[0] === `past_key_values.0.${part}`)!;
        joined.input = joined.input.map((name) => (name.startsWith("past") ? `recent.${part}` : name));
        const slice = makeNode("Slice", [`past_key_values.0.${part}`, "far", "end", "axis"], [`recent.${part}`]);
        branch.node.splice(Math.min(index, branch.node.indexOf(joined)), 0, slice);
      }
    });
    await expect(loadModel(folder)).rejects.toThrow(/attention cannot be proven/);
  });

  it("are refused when the choice is no If alone", async () => {
    const folder = mergedFolder("llama-alone", (model) => {
      graphOf(model).node.push(makeNode("Not", ["use_cache_branch"], ["other"], {}, { name: "second reader" }));
    });
    await expect(loadModel(folder)).rejects.toThrow(
      'the input "use_cache_branch" is read by node "optimum::if" (If), node "second reader" (Not), not by one If alone',
    );
  });

  it("are left alone when they are none", () => {
    const folder = writeExport(temporaryFolder(), variantNamed("llama-alone"), "script");
    expect(takeCacheBranch(readModel(join(folder, "model.onnx")))).toBe(false);
  });
});

function pastOf(layers: number): string[] {
  return Array.from({ length: layers }, (_, i) =>
    ["key", "value"].map((part) => `past_key_values.${i}.${part}`),
  ).flat();
}
