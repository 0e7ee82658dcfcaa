import { useEffect, useState } from "preact/hooks";
import { countTokens } from "./api.ts";

/** Quiet after the last change before the server is asked, milliseconds. */
const PAUSE_MS = 400;

/** How many tokens a text is on this server; null while that is not known. */
export function useTokenCount(text: string, key: string): number | null {
  const [count, setCount] = useState<number | null>(null);
  useEffect(() => {
    setCount(text === "" ? 0 : null);
    if (text === "") return;
    const changed = new AbortController();
    const timer = setTimeout(() => {
      // Without an answer there is no number; nothing depends on it.
      countTokens(text, key, changed.signal).then(setCount, () => {});
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      changed.abort();
    };
  }, [text, key]);
  return count;
}
