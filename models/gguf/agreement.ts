import { ModelError } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import { ggufArchitectureOf } from "./architectures.ts";
import type { GgufFile } from "./reader.ts";

/**
 * Checks the sizes of a model's metadata against its tensors, whose data is known to be in the file: whatever is made for
 * a size afterwards is bounded by the file's own.
 * @throws ModelError "file_invalid", naming the file, the tensor and the numbers
 */
export function checkAgreement(file: GgufFile, config: ModelConfig): void {
  const { layers } = config;
  const blocks = new Set<number>();
  for (const name of file.tensors.keys()) {
    const block = /^blk\.(\d+)\./.exec(name)?.[1];
    if (block !== undefined) blocks.add(Number(block));
  }
  if (blocks.size !== layers || Math.max(...blocks) !== layers - 1) {
    throw new ModelError(
      "file_invalid",
      `${file.path}: its tensors are of ${blocks.size} blocks${blocks.size > 0 ? `, the last blk.${Math.max(...blocks)}` : ""}; block_count is ${layers}`,
    );
  }
  for (const [name, shape] of Object.entries(ggufArchitectureOf(config).shapes(config))) {
    const tensor = file.tensors.get(name);
    if (!tensor) throw new ModelError("file_invalid", `${file.path}: tensor "${name}" is missing`);
    if (tensor.shape.join() === shape.join()) continue;
    throw new ModelError(
      "file_invalid",
      `${tensor.path}: tensor "${name}" has shape [${tensor.shape.join(", ")}]; by the metadata it is [${shape.join(", ")}]`,
    );
  }
}
