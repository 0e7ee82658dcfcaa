import { pull as pullModel } from "../../models/pull/index.ts";
import type { CliIo } from "./io.ts";
import { progressLine } from "./progress.ts";

/** Gets a model and says where it lies. */
export async function pull(name: string, options: { readonly from?: string }, io: CliIo): Promise<number> {
  const progress = progressLine(io);
  try {
    const model = await pullModel(name, { ...options, onProgress: progress.update });
    progress.end();
    const state = model.present ? "was there already" : "is in the cache now";
    io.out(`${model.name} ${state} (${model.path}); use it with --model ${model.name}\n`);
    return 0;
  } finally {
    progress.end();
  }
}
