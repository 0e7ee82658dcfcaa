import { basename, dirname } from "node:path";
import { linearStyle, styleSuffixes } from "../builder/style.ts";
import { prepareGraph } from "../cache.ts";
import { convert } from "../convert/index.ts";
import type { LoadModelOptions, PreparedModel } from "../types.ts";
import { checkAgreement } from "./agreement.ts";
import { ggufConfig } from "./config.ts";
import { ggufStem } from "./part-names.ts";
import { openGguf } from "./reader.ts";
import { ggufTokenizer } from "./tokenizer.ts";

/**
 * Makes a GGUF file, or a model in several of which one is named, ready for a session: its tokenizer, chat template and configuration, and a canonical graph built from
 * its weights, which keep their quantisation. The graph is cached, see cache.ts.
 * @throws ModelError naming the file, tensor or metadata key
 */
export async function importGguf(path: string, options: LoadModelOptions = {}): Promise<PreparedModel> {
  const style = linearStyle(options);
  const file = await openGguf(path);
  try {
    const config = ggufConfig(file);
    checkAgreement(file, config);
    const tokenizer = ggufTokenizer(file);
    const name = basename(ggufStem(file.path));
    const prepared = await prepareGraph({
      folder: dirname(file.path),
      label: [name, ...styleSuffixes(style)].join("-"),
      files: file.parts.map((part) => part.path),
      options,
      build: (folder) => convert({ format: "gguf", path: file.path, config, folder, style }, file.bytes, options),
    });
    return { name, source: file.path, config, tokenizer, ...prepared };
  } finally {
    file.close();
  }
}
