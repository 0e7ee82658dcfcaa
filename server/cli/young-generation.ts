import { setFlagsFromString } from "node:v8";

/**
 * Keeps V8's young generation as small as it is, or lets it grow again when it is full. It grows to 32 MB for what a server reads at its start
 * (modules, a tokenizer's tables), none of which is young for long, and gives nothing back while there is work. Apart from
 * frugal-load.ts since it comes before what that imports.
 */
export function youngGeneration(may: "stay" | "grow"): void {
  setFlagsFromString(`--semi-space-growth-factor=${may === "stay" ? 1 : 2}`);
}
