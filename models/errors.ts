/**
 * What can be wrong with a model, by kind. The message names the file, node or field and the numbers.
 *
 * - model_not_found: no such built-in name, pulled model, folder or file
 * - file_missing, file_truncated, file_invalid: a file that is absent, shorter than promised, or no model file at all
 * - unsupported_architecture: a model_type or architecture that this version does not know
 * - unsupported_config: a field of config.json (or GGUF metadata) with a value that is not supported
 * - unsupported_graph: a graph, operator or tensor type that the import cannot take
 * - hub_unreachable, download_failed, access_denied: a hub that does not answer, has no such file, or wants to know who asks
 * - disk_full: less free space than a model needs
 * - attention_unproven: an attention whose meaning could not be established
 */
export type ModelErrorCode =
  | "model_not_found"
  | "file_missing"
  | "file_truncated"
  | "file_invalid"
  | "unsupported_architecture"
  | "unsupported_config"
  | "unsupported_graph"
  | "hub_unreachable"
  | "download_failed"
  | "access_denied"
  | "disk_full"
  | "attention_unproven";

/** A model that cannot be used, and why. Everything under models/ throws this for bad input, never for its own faults. */
export class ModelError extends Error {
  override readonly name = "ModelError";
  readonly code: ModelErrorCode;

  constructor(code: ModelErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Text of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
