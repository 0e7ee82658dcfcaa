/** What `--quantize` may ask for; quantise.ts says what they are. Apart, for whoever only reads options. */
export type Quantisation = "int4" | "int8";
export const quantisations: readonly Quantisation[] = ["int4", "int8"];
