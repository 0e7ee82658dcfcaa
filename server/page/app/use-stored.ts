import { useCallback, useState } from "preact/hooks";
import { load, type Place, save } from "./storage.ts";

/** State that outlives the page. `restore` makes a value of whatever was stored, null included. */
export function useStored<T>(place: Place, name: string, restore: (stored: unknown) => T): [T, (value: T) => void] {
  const [value, setValue] = useState(() => restore(load(place, name)));
  const change = useCallback((next: T) => {
    save(place, name, next);
    setValue(next);
  }, []);
  return [value, change];
}
