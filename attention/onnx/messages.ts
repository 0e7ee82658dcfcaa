import type { ModelErrorCode } from "../../models/errors.ts";
import type { StepInput } from "../types.ts";
import type { DecoderSignature, ValueMetadata } from "./signature.ts";
import type { OnnxStepOutput } from "./stepper.ts";

/** What the thread is started with: the file that it opens at once, which is the first thing that it answers. */
export interface OnnxWorkerData {
  readonly path: string;
  readonly threads: number;
}

/** What the thread is asked; copies are not answered, but come before what is asked after them. */
export type OnnxRequest =
  | {
      readonly kind: "begin";
      readonly signature: DecoderSignature;
      readonly blocks: number;
      readonly blockSize: number;
    }
  | { readonly kind: "step"; readonly input: StepInput }
  | { readonly kind: "copy"; readonly from: number; readonly to: number }
  | { readonly kind: "close" };

/** What it answers, in order. */
export type OnnxReply =
  | { readonly kind: "opened"; readonly inputs: readonly ValueMetadata[]; readonly outputs: readonly ValueMetadata[] }
  | { readonly kind: "began" }
  | { readonly kind: "stepped"; readonly output: OnnxStepOutput }
  | { readonly kind: "failed"; readonly message: string; readonly code?: ModelErrorCode };
