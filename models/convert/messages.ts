import type { MessagePort } from "node:worker_threads";
import type { DenseType } from "../builder/weights.ts";
import type { ModelErrorCode } from "../errors.ts";
import type { Quantisation } from "../safetensors/quantise.ts";
import type { ImportReport } from "../types.ts";
import type { Conversion } from "./conversion.ts";

/** What the thread that converts is started with. */
export interface ConversionThreadData {
  readonly conversion: Conversion;
  readonly helpers: readonly HelperPlace[];
}

/** What it says: how far it is, any number of times, then how it ended. What is no ModelError ends the thread instead. */
export type ConversionReply =
  | { readonly progress: readonly [done: number, total: number, what: string] }
  | { readonly report: ImportReport }
  | { readonly error: { readonly code: ModelErrorCode; readonly message: string } };

/** Where a helper is reached. `signals` counts, in two int32, the jobs sent and the answers given. */
export interface HelperPlace {
  readonly port: MessagePort;
  readonly signals: SharedArrayBuffer;
}

/** Rows of a matrix, to be quantised. */
export interface HelperJob {
  readonly kind: Quantisation;
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly dtype: DenseType;
  readonly bytes: Uint8Array<ArrayBuffer>;
}
