import type { ApiFailure } from "./api.ts";
import { number, rate } from "./format.ts";
import { lastRatio } from "./live.tsx";
import type { ServerView } from "./use-stats.ts";

export interface HeaderProps extends ServerView {
  readonly canClear: boolean;
  readonly onClear: () => void;
  readonly panelOpen: boolean;
  readonly onPanel: () => void;
}

export function Header({ stats, failure, history, canClear, onClear, panelOpen, onPanel }: HeaderProps) {
  const ratio = lastRatio(history);
  const speed = history.at(-1)?.tokensPerSecond ?? 0;
  return (
    <header>
      <h1>
        <img src="assets/icon.svg" alt="" width="24" height="24" />
        sparq
      </h1>
      <p class={`server ${failure ? "bad" : stats ? "good" : ""}`}>
        <span class="dot" />
        <span class="name">{serverText(stats?.model, failure)}</span>
      </p>
      {/* Where the panel is folded away, its two numbers. */}
      <p class="brief">
        {rate(speed)} tok/s{ratio === null ? "" : ` · ${number(ratio, 2)}× dense`}
      </p>
      <button type="button" class="quiet" disabled={!canClear} onClick={onClear}>
        Clear
      </button>
      <button type="button" class="quiet fold" aria-expanded={panelOpen} aria-controls="panel" onClick={onPanel}>
        {panelOpen ? "Chat" : "Settings"}
      </button>
    </header>
  );
}

function serverText(model: string | undefined, failure: ApiFailure | null): string {
  if (failure === null) return model ?? "Connecting";
  if (failure.status === 401) return "Key needed";
  return failure.status === 503 ? failure.message : failure.status === 0 ? "No connection" : failure.message;
}
