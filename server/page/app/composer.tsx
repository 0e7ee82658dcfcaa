import { useEffect, useRef, useState } from "preact/hooks";

export interface ComposerProps {
  readonly running: boolean;
  readonly onSend: (text: string) => void;
  readonly onStop: () => void;
  readonly contextOpen: boolean;
  readonly contextLength: number;
  readonly onContext: () => void;
}

/** The tallest the box grows, in pixels. */
const TALLEST = 200;

export function Composer({ running, onSend, onStop, contextOpen, contextLength, onContext }: ComposerProps) {
  const [text, setText] = useState("");
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const area = box.current!;
    area.style.height = "auto";
    area.style.height = `${Math.min(TALLEST, area.scrollHeight)}px`;
  }, [text]);
  useEffect(() => {
    // On a phone it would bring up the keyboard.
    if (matchMedia("(pointer: fine)").matches) box.current!.focus({ preventScroll: true });
  }, []);
  const send = () => {
    if (running || text.trim() === "") return;
    onSend(text.trim());
    setText("");
    box.current!.focus();
  };
  const stop = ({ detail }: MouseEvent) => {
    // The second click of a double click on Send is none on Stop.
    if (detail > 1) return;
    onStop();
    box.current!.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // Enter also ends a word in an input method; that one is not for us.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <label class="hidden" for="question">
        Message
      </label>
      <textarea
        id="question"
        ref={box}
        rows={1}
        value={text}
        placeholder="Ask something"
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKeyDown}
        aria-describedby="keys"
        enterkeyhint="send"
      />
      <div class="row">
        <button type="button" class="quiet" aria-expanded={contextOpen} aria-controls="context" onClick={onContext}>
          {contextLength === 0 ? "Add a long text" : `Long text: ${contextLength.toLocaleString("en")} characters`}
        </button>
        <span id="keys" class="keys">
          Enter sends, Shift+Enter breaks the line, Esc stops
        </span>
        {running ? (
          <button type="button" class="stop" onClick={stop}>
            Stop
          </button>
        ) : (
          <button type="submit" class="send" disabled={text.trim() === ""}>
            Send
          </button>
        )}
      </div>
    </form>
  );
}
