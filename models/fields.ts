import { ModelError } from "./errors.ts";

/** Reads typed fields out of a parsed JSON object; every error names the file, the field and the value found. */
export class Fields {
  readonly values: Readonly<Record<string, unknown>>;
  readonly source: string;

  /** `source` is the file, with the path of the object inside it if it is not the whole. */
  constructor(values: Readonly<Record<string, unknown>>, source: string) {
    this.values = values;
    this.source = source;
  }

  has(name: string): boolean {
    return this.values[name] !== undefined && this.values[name] !== null;
  }

  /** Throws ModelError "unsupported_config" about one field. */
  refuse(name: string, expected: string): never {
    const value = this.values[name];
    const found = value === undefined ? "missing" : JSON.stringify(value);
    throw new ModelError("unsupported_config", `${this.source}: ${name} is ${found}; ${expected}`);
  }

  /** A finite number > 0, or the fallback for an absent or null field; without a fallback the field is required. */
  positive(name: string, fallback?: number): number {
    const value = this.values[name] ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value) || value <= 0)
      this.refuse(name, "it must be a number > 0");
    return value;
  }

  /** An integer >= 1. */
  count(name: string, fallback?: number): number {
    const value = this.values[name] ?? fallback;
    if (!Number.isSafeInteger(value) || (value as number) < 1) this.refuse(name, "it must be an integer >= 1");
    return value as number;
  }

  /** A list of so many finite numbers > 0. */
  positives(name: string, length: number): number[] {
    const value = this.values[name];
    const fits = Array.isArray(value) && value.length === length;
    if (!fits || !value.every((entry) => typeof entry === "number" && Number.isFinite(entry) && entry > 0)) {
      this.refuse(name, `it must be a list of ${length} numbers > 0`);
    }
    return value;
  }

  /** A string that is not empty. */
  text(name: string): string {
    const value = this.values[name];
    if (typeof value !== "string" || value === "") this.refuse(name, "it must be a string");
    return value;
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.values[name] ?? fallback;
    if (typeof value !== "boolean") this.refuse(name, "it must be true or false");
    return value;
  }

  /** One of a few strings. */
  choice<const T extends string>(name: string, allowed: readonly T[], fallback?: T): T {
    const value = this.values[name] ?? fallback;
    if (!allowed.includes(value as T)) this.refuse(name, `supported: ${allowed.join(", ")}`);
    return value as T;
  }

  /** A token id, a list of them, or null; absent takes the fallback. */
  tokenIds(name: string, fallback: readonly number[]): number[] {
    const value = this.values[name];
    if (value === undefined) return [...fallback];
    const ids: unknown[] = value === null ? [] : Array.isArray(value) ? value : [value];
    if (!ids.every((id) => Number.isSafeInteger(id) && (id as number) >= 0)) this.refuse(name, "it must be token ids");
    return ids as number[];
  }

  object(name: string): Fields {
    const value = this.values[name] ?? {};
    if (typeof value !== "object" || Array.isArray(value)) this.refuse(name, "it must be an object");
    return new Fields(value as Record<string, unknown>, `${this.source}: ${name}`);
  }
}
