import { Environment, Template } from "@huggingface/jinja";
import { PythonInterpreter } from "./python-jinja.ts";

/** No chat template, one that cannot be read, or one that refuses the messages; `message` is the template's own then. */
export class ChatTemplateError extends Error {
  override readonly name = "ChatTemplateError";
}

/** A chat template in Jinja, with what Hugging Face transformers offers to templates (`utils/chat_template_utils.py`). */
export class ChatTemplate {
  readonly #program: Template["parsed"];

  /** Throws ChatTemplateError if `source` is no Jinja. */
  constructor(source: string) {
    try {
      this.#program = new Template(source.replace(/\r\n?/g, "\n")).parsed;
    } catch (error) {
      throw new ChatTemplateError(`the model's chat template cannot be parsed: ${(error as Error).message}`);
    }
  }

  /** Throws ChatTemplateError with the message of `raise_exception`, or of whatever went wrong in the template. */
  render(variables: Readonly<Record<string, unknown>>, now: Date = new Date()): string {
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...templateGlobals(now), ...variables })) environment.set(name, value);
    try {
      return String(new PythonInterpreter(environment).run(this.#program).value);
    } catch (error) {
      throw new ChatTemplateError((error as Error).message);
    }
  }
}

/** Jinja's constants and `range`, and transformers' helpers; `tojson` and the other filters are the interpreter's. */
function templateGlobals(now: Date): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range,
    raise_exception: (message: string) => {
      throw new Error(message);
    },
    strftime_now: (format: string) => strftime(now, format),
  };
}

/** Python's range(stop) and range(start, stop, step). */
function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (step === 0) throw new Error("range() arg 3 must not be zero");
  return Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, i) => from + i * step);
}

/** Python's strftime in the C locale and local time, for the directives that dates in templates use. */
export function strftime(date: Date, format: string): string {
  const english = (options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat("en-US", options).format(date);
  const padded = (value: number, width = 2) => String(value).padStart(width, "0");
  const directives: Record<string, () => string> = {
    "%": () => "%",
    A: () => english({ weekday: "long" }),
    a: () => english({ weekday: "short" }),
    B: () => english({ month: "long" }),
    b: () => english({ month: "short" }),
    d: () => padded(date.getDate()),
    H: () => padded(date.getHours()),
    I: () => padded(date.getHours() % 12 || 12),
    M: () => padded(date.getMinutes()),
    m: () => padded(date.getMonth() + 1),
    p: () => (date.getHours() < 12 ? "AM" : "PM"),
    S: () => padded(date.getSeconds()),
    Y: () => padded(date.getFullYear(), 4),
    y: () => padded(date.getFullYear() % 100),
  };
  return format.replace(/%(-?)([%A-Za-z])/g, (whole, unpadded: string, letter: string) => {
    const text = directives[letter]?.();
    if (text === undefined) return whole;
    return unpadded ? text.replace(/^0(?=.)/, "") : text;
  });
}
