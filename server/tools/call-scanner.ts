import { JsonScanner } from "./json-scanner.ts";

/** What a call's text has given so far. */
export interface CallProgress {
  /** The function's name, with the piece that made it known. */
  readonly name?: string;
  /** The next piece of the arguments, as the model wrote them. Only after the name. */
  readonly arguments: string;
  /** UTF-16 units of the text that belong to the call. */
  readonly length: number;
  readonly state: "open" | "done" | "broken";
}

const ARGUMENTS = new Set(["arguments", "parameters"]);

type Place = "open" | "key" | "colon" | "value" | "next";

/**
 * Reads `{"name": "f", "arguments": {...}}` as it comes, members in any order, others left out; "parameters" is another word
 * for "arguments". Arguments are given as they are written, and once the name is known.
 */
export class CallScanner {
  #place: Place = "open";
  #key = "";
  /** Of a key, or of a value that is not the arguments. */
  #text = "";
  #scanner = new JsonScanner();
  #name: string | null = null;
  #told = false;
  /** Arguments that wait for the name. */
  #held = "";
  #anyArguments = false;
  #quoted = false;

  /** Whether the name is known. */
  get named(): boolean {
    return this.#name !== null;
  }

  /** Takes the next piece of text. Mutates; not to be called after "done" or "broken". */
  push(text: string): CallProgress {
    let given = "";
    let at = 0;
    let state: CallProgress["state"] = "open";
    while (at < text.length && state === "open") {
      if (this.#place === "key" && this.#text !== "") at += this.#takeKey(text.slice(at));
      else if (this.#place === "value") {
        const { length, piece } = this.#takeValue(text.slice(at));
        at += length;
        given += piece;
      } else {
        state = this.#punctuation(text[at] as string);
        if (state !== "broken") at += 1;
      }
    }
    if (state === "done" && this.#name !== null && !this.#anyArguments) given += "{}";
    return { ...this.#tell(given), length: at, state };
  }

  /** The name goes with the first piece after it is known; arguments that came before it follow it. */
  #tell(given: string): Pick<CallProgress, "name" | "arguments"> {
    if (this.#name === null) {
      this.#held += given;
      return { arguments: "" };
    }
    const whole = this.#held + given;
    this.#held = "";
    if (this.#told) return { arguments: whole };
    this.#told = true;
    return { name: this.#name, arguments: whole };
  }

  #punctuation(character: string): CallProgress["state"] {
    if (/\s/.test(character) && this.#place !== "value") return "open";
    if (this.#place === "open" && character === "{") this.#place = "key";
    else if (this.#place === "key" && character === '"') {
      this.#scanner = new JsonScanner();
      this.#scanner.take(character);
      this.#text = character;
    } else if (this.#place === "colon" && character === ":") {
      this.#place = "value";
      this.#scanner = new JsonScanner();
      this.#text = "";
      this.#quoted = false;
    } else if (this.#place === "next" && character === ",") this.#place = "key";
    else if ((this.#place === "next" || this.#place === "key") && character === "}") return "done";
    else return "broken";
    return "open";
  }

  #takeKey(text: string): number {
    const { length, ended } = this.#scanner.take(text);
    this.#text += text.slice(0, length);
    if (!ended) return length;
    this.#key = String(parsed(this.#text) ?? "");
    this.#text = "";
    this.#place = "colon";
    return length;
  }

  #takeValue(text: string): { length: number; piece: string } {
    const isArguments = ARGUMENTS.has(this.#key) && !(this.#anyArguments && this.#text === "" && !this.#started);
    const leading = this.#started ? 0 : text.length - text.trimStart().length;
    if (leading === text.length) return { length: leading, piece: "" };
    if (!this.#started) {
      this.#started = true;
      this.#quoted = text[leading] === '"';
    }
    const { length, ended } = this.#scanner.take(text.slice(leading));
    const piece = text.slice(leading, leading + length);
    // Some models write the arguments as a string that holds JSON, as the API itself does.
    const streams = isArguments && !this.#quoted;
    if (streams) this.#anyArguments = true;
    else this.#text += piece;
    let given = streams ? piece : "";
    if (ended) {
      if (this.#key === "name") this.#name = stringOf(this.#text) ?? this.#name;
      if (isArguments && this.#quoted) {
        this.#anyArguments = true;
        given = stringOf(this.#text) ?? this.#text;
      }
      this.#text = "";
      this.#started = false;
      this.#place = "next";
    }
    return { length: leading + length, piece: given };
  }

  #started = false;
}

function stringOf(text: string): string | undefined {
  const value = parsed(text);
  return typeof value === "string" ? value : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
