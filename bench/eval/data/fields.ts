import { readFileSync } from "node:fs";

/** A data set's file that is not what it should be; the message names the file, and the line or the place in it. */
export class DataError extends Error {
  override readonly name = "DataError";
}

/** Throws DataError naming the file if it cannot be read. */
export function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new DataError(`${path}: ${(error as NodeJS.ErrnoException).code ?? error}`);
  }
}

/** A JSON value of a data set, with where it stands. What it should be and is not throws DataError. */
export class Field {
  private readonly value: unknown;
  private readonly place: string;

  constructor(value: unknown, place: string) {
    this.value = value;
    this.place = place;
  }

  /** Throws also if the object has no such field. */
  get(key: string): Field {
    const found = this.find(key);
    if (found === undefined) throw this.error(`has no ${key}`);
    return found;
  }

  /** Undefined if the object has no such field, or null. */
  find(key: string): Field | undefined {
    if (typeof this.value !== "object" || this.value === null || Array.isArray(this.value)) {
      throw this.error("must be an object");
    }
    const value = (this.value as Record<string, unknown>)[key];
    return value === undefined || value === null ? undefined : new Field(value, `${this.place}, ${key}`);
  }

  /** Not empty. */
  text(): string {
    if (typeof this.value === "string" && this.value.trim() !== "") return this.value;
    throw this.error("must be a text that is not empty");
  }

  list(): Field[] {
    if (!Array.isArray(this.value)) throw this.error("must be a list");
    return this.value.map((value, i) => new Field(value, `${this.place}[${i}]`));
  }

  /** Not empty, nor any of it. */
  texts(): string[] {
    const found = this.list().map((field) => field.text());
    if (found.length === 0) throw this.error("must not be empty");
    return found;
  }

  /** Whatever it is. */
  raw(): unknown {
    return this.value;
  }

  error(problem: string): DataError {
    return new DataError(`${this.place} ${problem}`);
  }
}

/** A file of one JSON value. */
export function readJson(path: string): Field {
  return new Field(parse(readText(path), path), path);
}

/** A file of one JSON value a line; blank lines are passed over. */
export function readLines(path: string): Field[] {
  const lines = readText(path).split("\n");
  return lines.flatMap((line, i) => {
    const place = `${path}, line ${i + 1}`;
    return line.trim() === "" ? [] : [new Field(parse(line, place), place)];
  });
}

/** Whether the file is lines of JSON rather than one value: by its name, or since its first line is an object itself. */
export function isLines(path: string): boolean {
  return /\.(jsonl|ndjson)$/.test(path);
}

function parse(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DataError(`${place} is not JSON: ${(error as Error).message}`);
  }
}
