/** A variant that cannot be; the message names it and what is wrong. */
export class VariantError extends Error {
  override readonly name = "VariantError";
}

/** What stands after a variant's colon. Each reader takes what it knows; `end` refuses the rest. */
export class Fields {
  private readonly name: string;
  private readonly left = new Map<string, string>();

  constructor(name: string, text: string) {
    this.name = name;
    for (const part of text === "" ? [] : text.split(",")) {
      const [key = "", value] = part.includes("=") ? part.split("=") : ["", part];
      if (this.left.has(key)) throw this.error(`has ${key === "" ? "two ratios" : `${key} twice`}`);
      this.left.set(key, value ?? "");
    }
  }

  error(problem: string): VariantError {
    return new VariantError(`variant ${this.name} ${problem}`);
  }

  /** "1/4" or "0.25", over 0 and at most 1. */
  ratio(): number | undefined {
    const text = this.take("");
    if (text === undefined) return undefined;
    const [top, bottom = "1"] = text.split("/");
    const value = /^[\d.]+(\/[\d.]+)?$/.test(text) ? Number(top) / Number(bottom) : Number.NaN;
    if (!(value > 0 && value <= 1)) throw this.error(`has '${text}' where a ratio such as 1/4, at most 1, is wanted`);
    return value;
  }

  count(key: string, min: number): number | undefined {
    const text = this.take(key);
    if (text === undefined) return undefined;
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min)) throw this.error(`has ${key}=${text}; it must be a whole number from ${min} on`);
    return value;
  }

  choice<T extends string>(key: string, allowed: readonly T[]): T | undefined {
    const text = this.take(key);
    if (text === undefined || allowed.includes(text as T)) return text as T | undefined;
    throw this.error(`has ${key}=${text}; it must be one of ${allowed.join(", ")}`);
  }

  end(): void {
    const [key] = this.left.keys();
    if (key !== undefined) throw this.error(`has ${key === "" ? `'${this.left.get("")}'` : key}, which it cannot have`);
  }

  private take(key: string): string | undefined {
    const text = this.left.get(key);
    this.left.delete(key);
    return text;
  }
}
