/** The browser's storages, by name: where they are forbidden, even to name one throws. */
export type Place = "localStorage" | "sessionStorage";

/** A value kept as JSON; null for none, or for one that cannot be read. */
export function load(place: Place, name: string): unknown {
  try {
    return JSON.parse(window[place].getItem(name) ?? "null");
  } catch {
    return null;
  }
}

/** Keeps a value. Where the browser does not let it, or it is too large, the page works without. */
export function save(place: Place, name: string, value: unknown): void {
  try {
    window[place].setItem(name, JSON.stringify(value));
  } catch {
    // An older value would come back in its place.
    remove(place, name);
  }
}

function remove(place: Place, name: string): void {
  try {
    window[place].removeItem(name);
  } catch {
    // Then there is none.
  }
}
