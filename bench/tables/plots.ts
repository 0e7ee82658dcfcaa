import type { Load } from "./tables.ts";

/** The pictures under docs/images/, as SVG. */
export const plots: Readonly<Record<string, (load: Load) => Promise<string>>> = {};
