import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { loadAddon } from "../../attention/binding.ts";
import { youngGeneration } from "./young-generation.ts";

/**
 * Loads something, and keeps of the memory that takes only what it needs afterwards: garbage and what the C library keeps for reuse
 * go back to the system, which V8 does late and the library never. Stands still for some 50 ms at the end.
 */
export async function loadFrugally<T>(load: () => Promise<T>): Promise<T> {
  youngGeneration("stay");
  try {
    return await load();
  } finally {
    youngGeneration("grow");
    collectGarbage();
    loadAddon().releaseFreeMemory();
  }
}

function collectGarbage(): void {
  // Node has no other way to ask for it than a flag, which is read when a context is made.
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  collect();
}
