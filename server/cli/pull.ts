import { pull as pullModel } from "../../models/pull/index.ts";
import type { CliIo } from "./io.ts";
import { progressLine } from "./progress.ts";

/** Gets a model and says where it lies. */
export async function pull(
  what: string,
  options: { readonly from?: string; readonly name?: string },
  io: CliIo,
): Promise<number> {
  const progress = progressLine(io);
  try {
    const model = await pullModel(what, { ...options, onProgress: progress.update, signal: io.stop });
    progress.end();
    if (model.unasked) io.err(`not asked for a newer one: ${model.unasked}\n`);
    const state = model.present ? "was there already" : "is in the cache now";
    io.out(`${model.name} ${state} (${model.path}); use it with --model ${model.name}\n`);
    return 0;
  } catch (error) {
    progress.end();
    if (!io.stop.aborted) throw error;
    io.err("stopped; what has arrived is kept, and the same command goes on from there\n");
    return 1;
  } finally {
    progress.end();
  }
}
