import { kernelTable } from "./kernel.ts";

/** Parses a file of bench/results/ by its name. */
// biome-ignore lint/suspicious/noExplicitAny: each table knows the format of its file, and a test makes them all
export type Load = (name: string) => any;

/** The tables that documents can have, by the names in their marks. */
export const tables: Readonly<Record<string, (load: Load) => string>> = {
  kernel: (load) => kernelTable(load("kernel")),
};
