import type { LoadOptions } from "../../bench/options.ts";
import { formatInspection, inspectModel } from "../../models/inspect.ts";
import { formatAsIs, inspectAsIs } from "../../models/inspect-as-is.ts";
import type { CliIo } from "./io.ts";
import { progressLine } from "./progress.ts";

export interface InspectOptions extends LoadOptions {
  readonly json?: boolean;
  readonly attention?: "sparq" | "onnx";
}

/** Prints what a model is and what its import did, or with attention "onnx" what it is without one. */
export async function inspect(model: string, options: InspectOptions, io: CliIo): Promise<number> {
  if (options.attention === "onnx") {
    const inspection = await inspectAsIs(model);
    io.out(`${options.json ? JSON.stringify(inspection, null, 2) : formatAsIs(inspection)}\n`);
    return 0;
  }
  const progress = progressLine(io);
  try {
    const { quantize, maxContext } = options;
    const inspection = await inspectModel(model, { quantize, maxContext, onProgress: progress.update });
    progress.end();
    io.out(`${options.json ? JSON.stringify(inspection, null, 2) : formatInspection(inspection)}\n`);
    return 0;
  } finally {
    progress.end();
  }
}
