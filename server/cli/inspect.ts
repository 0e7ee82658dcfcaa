import { formatInspection, inspectModel } from "../../models/inspect.ts";
import type { CliIo } from "./io.ts";
import { progressLine } from "./progress.ts";

/** Prints what a model is and what its import did. */
export async function inspect(model: string, options: { readonly json?: boolean }, io: CliIo): Promise<number> {
  const progress = progressLine(io);
  try {
    const inspection = await inspectModel(model, { onProgress: progress.update });
    progress.end();
    io.out(`${options.json ? JSON.stringify(inspection, null, 2) : formatInspection(inspection)}\n`);
    return 0;
  } finally {
    progress.end();
  }
}
