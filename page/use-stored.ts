import { useCallback, useState } from "preact/hooks";
import { load, save } from "./storage.ts";

/** State that outlives the page. `restore` makes a value of whatever was stored, null included. */
export function useStored<T>(storage: Storage, name: string, restore: (stored: unknown) => T): [T, (value: T) => void] {
  const [value, setValue] = useState(() => restore(load(storage, name)));
  const change = useCallback((next: T) => {
    save(storage, name, next);
    setValue(next);
  }, []);
  return [value, change];
}
