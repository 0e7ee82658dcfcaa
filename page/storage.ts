/** A value kept as JSON; null for none, or for one that cannot be read. */
export function load(storage: Storage, name: string): unknown {
  try {
    return JSON.parse(storage.getItem(name) ?? "null");
  } catch {
    return null;
  }
}

/** Keeps a value; false if the browser does not let it, as when it is too large. The page works without. */
export function save(storage: Storage, name: string, value: unknown): boolean {
  try {
    storage.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
