import type { AttentionSettings } from "./types.ts";

/** k grows with the context in steps of so many positions, so that many rows attend alike. */
const STEP = 64;

/**
 * How a row attends that sees `visible` positions, by `minContext` and `kShare`, which the kernels know nothing of; rows that see
 * fewer than `until` positions, and no fewer than this one, attend alike.
 */
export function attentionAt(
  settings: AttentionSettings,
  visible: number,
): { readonly attention: AttentionSettings; readonly until: number } {
  const { mode, k, local, minContext = 0, kShare = 0 } = settings;
  if (mode === "dense") return { attention: settings, until: Number.POSITIVE_INFINITY };
  if (visible < minContext) return { attention: { ...settings, mode: "dense" }, until: minContext };
  if (kShare === 0) return { attention: settings, until: Number.POSITIVE_INFINITY };
  const steps = Math.floor((visible * kShare) / STEP);
  const until = firstWith(Math.max(steps, Math.floor(k / STEP)) + 1, kShare);
  const kept = steps * STEP;
  if (kept <= k) return { attention: settings, until };
  return { attention: { ...settings, k: kept, local: Math.floor((kept * local) / k) }, until };
}

/** The least number of visible positions whose share is so many steps. */
function firstWith(steps: number, kShare: number): number {
  const guess = Math.ceil((steps * STEP) / kShare);
  // Rounding may have put it one off.
  return Math.floor(((guess - 1) * kShare) / STEP) >= steps ? guess - 1 : guess;
}
