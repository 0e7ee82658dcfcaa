import { statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { linearStyle, styleSuffixes } from "../builder/style.ts";
import { prepareGraph } from "../cache.ts";
import { parseConfig } from "../config.ts";
import { readConfigFiles } from "../config-files.ts";
import { type Conversion, convert } from "../convert/index.ts";
import { ModelError } from "../errors.ts";
import { readTokenizerFiles } from "../tokenizer-files.ts";
import type { LoadModelOptions, PreparedModel } from "../types.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";

/**
 * Makes a Hugging Face checkpoint (config.json, tokenizer.json and weights in safetensors) ready for a session: a canonical
 * graph built from its weights. The graph is cached, see cache.ts.
 * @param path the folder, or a .safetensors file in it
 * @throws ModelError naming the file, tensor or field
 */
export async function importCheckpoint(path: string, options: LoadModelOptions = {}): Promise<PreparedModel> {
  const folder = statSync(path).isDirectory() ? path : dirname(path);
  const style = linearStyle(options);
  const { path: configPath, config: configJson, generation } = readConfigFiles(folder);
  refuseQuantised(configJson, configPath);
  const config = parseConfig(configJson, generation, configPath, options);
  const tokenizer = readTokenizerFiles(folder);
  const checkpoint = openCheckpoint(path);
  try {
    const variant = [options.quantize, config.ropeVariant].filter((part) => part !== undefined);
    const prepared = await prepareGraph({
      folder,
      label: ["safetensors", ...variant, ...styleSuffixes(style)].join("-"),
      files: [configPath, ...checkpoint.paths],
      options,
      build: (target) => {
        const conversion = {
          format: "safetensors",
          path,
          config,
          folder: target,
          style,
          quantize: options.quantize,
        } as const;
        return convert(conversion, rewrittenBytes(checkpoint, conversion), options);
      },
    });
    return { name: basename(folder), source: path, config, tokenizer, ...prepared };
  } finally {
    checkpoint.close();
  }
}

/** Of the weights, those that cannot stay where they are. */
function rewrittenBytes({ files }: Checkpoint, { quantize, style }: Pick<Conversion, "quantize" | "style">): number {
  const all = files.reduce((sum, { bytes }) => sum + bytes, 0);
  return quantize || style.weights === "copied" ? all : 0;
}

function refuseQuantised(config: Readonly<Record<string, unknown>>, path: string): void {
  const quantised = config.quantization_config as { quant_method?: unknown } | null | undefined;
  if (quantised === undefined || quantised === null) return;
  throw new ModelError(
    "unsupported_config",
    `${path}: the weights are quantised (quantization_config, quant_method ${JSON.stringify(quantised.quant_method) ?? "missing"}), ` +
      "which is not supported; take the checkpoint that is not, and quantise it here (--quantize int4 or int8), or a GGUF",
  );
}
