import { useEffect, useRef, useState } from "preact/hooks";

export interface KeyDialogProps {
  /** What the server said to the last key; empty before the first. */
  readonly refusal: string;
  readonly onKey: (key: string) => void;
}

/** Asks for the API key until the server takes one. */
export function KeyDialog({ refusal, onKey }: KeyDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [key, setKey] = useState("");
  useEffect(() => {
    if (!dialog.current!.open) dialog.current!.showModal();
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby="key-title" onCancel={(event) => event.preventDefault()}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onKey(key);
        }}
      >
        <h2 id="key-title">This server asks for an API key</h2>
        <label for="key">API key</label>
        <input
          id="key"
          type="password"
          autocomplete="off"
          value={key}
          aria-describedby="key-note"
          required
          pattern="[!-~]+"
          title="Letters, digits and signs of ASCII, no spaces"
          onInput={(event) => setKey(event.currentTarget.value.trim())}
        />
        {refusal !== "" && (
          <p class="error" role="alert">
            {refusal}
          </p>
        )}
        <p id="key-note" class="note">
          The key stays in this tab and is forgotten when it closes.
        </p>
        <button type="submit" class="send" disabled={key === ""}>
          Use this key
        </button>
      </form>
    </dialog>
  );
}
