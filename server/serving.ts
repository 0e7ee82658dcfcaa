import type { AttentionSettings } from "../attention/types.ts";
import type { SamplingDefaults } from "../models/sampling-defaults.ts";
import type { Engine, TokenizedGrammars, Tokenizer } from "./engine/types.ts";
import type { PromptEncoder } from "./prompts/encoder.ts";
import type { ToolFormatName } from "./tools/formats.ts";

/** A loaded model with its engine: what the routes serve. */
export interface Serving {
  /** The id on the wire. */
  readonly name: string;
  /** Its folder, or its GGUF; clients that tokenize for themselves look here. */
  readonly root: string;
  /** Unix seconds. */
  readonly created: number;
  readonly tokenizer: Tokenizer;
  /** The same tokenizer for texts of any length: long ones do not keep the event loop. */
  readonly prompts: PromptEncoder;
  readonly engine: Engine;
  readonly grammars: TokenizedGrammars;
  /** Longest sequence, prompt and generated, in tokens. */
  readonly contextLength: number;
  /** 0 where the graph does not tell. */
  readonly headDim: number;
  /** What computes attention: the kernels; or the model's own graph, densely, whatever settings say. */
  readonly backend: "kernels" | "onnx";
  /** Why no request can be answered any more until the model is loaded anew; undefined while all is well. */
  readonly broken?: () => string | undefined;
  /** How the model writes tool calls, if its chat template does not show it. */
  readonly toolCallParser?: ToolFormatName;
  /** For requests that say nothing. */
  readonly attention: AttentionSettings;
  /** As the model's makers sample, for what requests do not say. */
  readonly sampling?: SamplingDefaults;
}

/** How requests attend that say nothing. */
export function attentionName({ backend, attention }: Serving): "sparq" | "dense" | "onnx" {
  return backend === "onnx" ? "onnx" : attention.mode;
}

/** Ends what runs and frees the model. */
export async function closeServing({ engine, prompts, grammars }: Serving): Promise<void> {
  await Promise.all([engine.close(), prompts.close(), grammars.close()]);
}

/** What the server can say about itself at any time. */
export type ServerState =
  | { readonly phase: "loading" }
  | { readonly phase: "ready"; readonly serving: Serving }
  | { readonly phase: "draining" };
