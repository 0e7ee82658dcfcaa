import { useState } from "preact/hooks";
import { number } from "./format.ts";
import { useTokenCount } from "./use-token-count.ts";

export interface ContextBoxProps {
  readonly text: string;
  /** For counting its tokens. */
  readonly apiKey: string;
  /** Longest that the server takes, in tokens; null while unknown. */
  readonly limit: number | null;
  readonly onChange: (text: string) => void;
}

/** Where a long text is pasted, typed, dropped or opened. It goes before the first question. */
export function ContextBox({ text, apiKey, limit, onChange }: ContextBoxProps) {
  const tokens = useTokenCount(text, apiKey);
  const [problem, setProblem] = useState("");
  const open = async (file: File | null | undefined) => {
    if (!file) return;
    const read = await readText(file);
    setProblem(read === null ? `${file.name} is not a text file.` : "");
    if (read !== null) onChange(read);
  };
  return (
    <section
      id="context"
      class="context"
      aria-label="Long text"
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        open(event.dataTransfer?.files[0]);
      }}
    >
      <label for="context-text">Text to ask about</label>
      <textarea
        id="context-text"
        rows={6}
        value={text}
        spellcheck={false}
        placeholder="Paste a text here, or drop a file. It goes before your first question."
        onInput={(event) => onChange(event.currentTarget.value)}
      />
      <div class="row">
        <label class="file">
          Open a file
          <input
            type="file"
            class="hidden"
            accept="text/*,.md,.txt,.json,.csv,.log,.ts,.js,.py,.c,.cc,.cpp,.h"
            onChange={(event) => open(event.currentTarget.files?.[0])}
          />
        </label>
        {problem !== "" && (
          <span class="error" role="alert">
            {problem}
          </span>
        )}
        <span class={limit !== null && tokens !== null && tokens >= limit ? "count error" : "count"}>
          {tokens === null
            ? `${number(text.length)} characters`
            : `${number(tokens)}${limit === null ? "" : ` of ${number(limit)}`} tokens`}
        </span>
        <button type="button" class="quiet" disabled={text === ""} onClick={() => onChange("")}>
          Remove
        </button>
      </div>
    </section>
  );
}

/** Null for what is not UTF-8 text. */
async function readText(file: File): Promise<string | null> {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}
