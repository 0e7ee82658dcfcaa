import { variantTable } from "./evaluation.ts";
import { kernelTable } from "./kernel.ts";

/** Parses a file of bench/results/ by its name. */
// biome-ignore lint/suspicious/noExplicitAny: each table knows the format of its file, and a test makes them all
export type Load = (name: string) => any;

const agreement = { task: "agreement", metrics: ["KL", "largest KL", "same top-1"] };

/** The tables that documents can have, by the names in their marks. */
export const tables: Readonly<Record<string, (load: Load) => string>> = {
  kernel: (load) => kernelTable(load("kernel")),
  "sweep-2k": (load) => variantTable(load("eval-sweep-2k"), { ...agreement, tokens: 2048 }),
  "sweep-8k": (load) => variantTable(load("eval-sweep-8k"), { ...agreement, tokens: 7600 }),
};
