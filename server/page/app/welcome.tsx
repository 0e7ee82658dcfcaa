import { number } from "./format.ts";
import type { Stats } from "./stats.ts";

/** What stands in the place of the conversation before there is one. */
export function Welcome({ stats, onContext }: { readonly stats: Stats | null; readonly onContext: () => void }) {
  return (
    <div class="welcome">
      <h2>{stats ? `Chat with ${stats.model}` : "Chat"}</h2>
      <p class="lead">
        SparQ attention ranks the positions by a few components of each key and reads only those that matter. The longer
        the context, the more it leaves unread
        {stats ? `; this server takes ${number(stats.context_length)} tokens` : ""}.
      </p>
      <button type="button" class="outline" onClick={onContext}>
        Add a long text
      </button>
    </div>
  );
}
