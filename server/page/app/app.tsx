import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiFailure } from "./api.ts";
import { Composer } from "./composer.tsx";
import { ContextBox } from "./context-box.tsx";
import { Conversation } from "./conversation.tsx";
import { Header } from "./header.tsx";
import { KeyDialog } from "./key-dialog.tsx";
import { Live } from "./live.tsx";
import { requestFields, restoreSettings } from "./settings.ts";
import { SettingsPanel } from "./settings-panel.tsx";
import { messagesOf } from "./turns.ts";
import { useChat } from "./use-chat.ts";
import { useStats } from "./use-stats.ts";
import { useStored } from "./use-stored.ts";
import { Welcome } from "./welcome.tsx";

const textOf = (stored: unknown) => (typeof stored === "string" ? stored : "");

export function App() {
  const [key, setKey] = useStored("sessionStorage", "sparq.key", textOf);
  const [settings, setSettings] = useStored("localStorage", "sparq.settings", restoreSettings);
  const [context, setContext] = useStored("localStorage", "sparq.context", textOf);
  const [contextOpen, setContextOpen] = useState(false);
  const [panelOpen, setPanelOpen] = useState(false);
  const [running, setRunning] = useState(false);
  const { stats, failure, history, sample } = useStats(key, running);
  const chat = useChat({
    key,
    messagesOf: (turns) => messagesOf(turns, settings.system, context),
    fields: requestFields(settings, stats),
    sample,
  });
  useEffect(() => setRunning(chat.running), [chat.running]);
  useEscape(() => (chat.running ? chat.stop() : setPanelOpen(false)));

  const clear = () => {
    chat.clear();
    setContext("");
  };
  const send = (question: string) => {
    setContextOpen(false);
    chat.send(question);
  };
  return (
    <div class="page">
      <Header
        stats={stats}
        failure={failure}
        history={history}
        canClear={chat.turns.length > 0 || context !== ""}
        onClear={clear}
        panelOpen={panelOpen}
        onPanel={() => setPanelOpen(!panelOpen)}
      />
      <main class={panelOpen ? "behind" : ""}>
        {chat.turns.length === 0 ? (
          <Welcome stats={stats} onContext={() => setContextOpen(true)} />
        ) : (
          <Conversation turns={chat.turns} running={chat.running} onRetry={chat.retry} />
        )}
        <div class="foot">
          {contextOpen && (
            <ContextBox text={context} apiKey={key} limit={stats?.context_length ?? null} onChange={setContext} />
          )}
          <Composer
            running={chat.running}
            onSend={send}
            onStop={chat.stop}
            contextOpen={contextOpen}
            contextLength={context.length}
            onContext={() => setContextOpen(!contextOpen)}
          />
        </div>
      </main>
      <aside id="panel" class={panelOpen ? "open" : ""} aria-label="Live and settings">
        <Live stats={stats} history={history} turn={chat.turns.at(-1)} />
        <SettingsPanel settings={settings} stats={stats} onChange={setSettings} />
      </aside>
      <p class="hidden" role="status">
        {statusOf(chat.turns.at(-1)?.state, failure)}
      </p>
      {failure?.status === 401 && <KeyDialog refusal={key === "" ? "" : failure.message} onKey={setKey} />}
    </div>
  );
}

function statusOf(state: string | undefined, failure: ApiFailure | null): string {
  if (state === "running") return "Answering";
  if (failure !== null) return failure.message;
  return state === "done" || state === "cut" ? "The answer is complete" : state === "stopped" ? "Stopped" : "";
}

function useEscape(action: () => void): void {
  const latest = useRef(action);
  latest.current = action;
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.isComposing) latest.current();
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, []);
}
