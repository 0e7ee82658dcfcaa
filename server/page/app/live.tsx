import { bytes, duration, number, percent, rate } from "./format.ts";
import { Plot } from "./plot.tsx";
import type { Stats } from "./stats.ts";
import type { Turn } from "./turns.ts";
import type { Point, ServerView } from "./use-stats.ts";

export interface LiveProps extends Pick<ServerView, "stats" | "history"> {
  /** The last turn, if any. */
  readonly turn: Turn | undefined;
}

/** The server's numbers, those of the last answer, and how they went. */
export function Live({ stats, history, turn }: LiveProps) {
  const now = history.at(-1);
  const ratio = lastRatio(history);
  const measures = turn?.measures;
  // The server tells the prompt's length at the end.
  const context = measures?.promptTokens ? measures.promptTokens + measures.tokens : null;
  const limit = stats?.context_length ?? 0;
  const used = stats ? stats.blocks.owned / stats.blocks.total : 0;
  const kept = stats ? stats.blocks.cached / stats.blocks.total : 0;
  return (
    <section class="live" aria-label="Live">
      <h2>Live</h2>
      <figure>
        <figcaption>
          <span>Speed</span>
          <strong>{now ? `${rate(now.tokensPerSecond)} tokens/s` : "–"}</strong>
        </figcaption>
        <Plot
          label="Tokens per second over the last two minutes"
          points={history}
          value={(point) => point.tokensPerSecond}
          reach={10}
          format={(value) => number(value)}
          colour="--speed"
        />
      </figure>
      <figure>
        <figcaption>
          <span>Cache read against dense</span>
          <strong>{ratio === null ? "–" : `${number(ratio, 2)}×`}</strong>
        </figcaption>
        <Plot
          label="Bytes read of the cache as a share of what dense attention would read, over the last two minutes"
          points={history}
          value={(point) => point.ratio}
          reach={1.05}
          format={(value) => number(value, 1)}
          colour="--traffic"
        />
        <p class="note">
          {now && now.dense > 0
            ? `${bytes(now.read / now.seconds)}/s read; dense would be ${bytes(now.dense / now.seconds)}/s.`
            : "Bytes that attention reads, prompts included; those are always dense."}
        </p>
      </figure>
      <dl>
        <div>
          <dt>First token</dt>
          <dd>{measures ? duration(measures.ttft) : "–"}</dd>
        </div>
        <div>
          <dt>Running</dt>
          <dd>{stats?.running ?? "–"}</dd>
        </div>
        <div>
          <dt>Waiting</dt>
          <dd>{stats?.waiting ?? "–"}</dd>
        </div>
        <div title="Of the tokens that were guessed and checked, since the server started">
          <dt>Drafts right</dt>
          <dd>{draftsRight(stats)}</dd>
        </div>
      </dl>
      <Meter
        label="Context"
        share={limit > 0 && context !== null ? context / limit : 0}
        text={limit === 0 ? "–" : context === null ? `of ${number(limit)}` : `${number(context)} of ${number(limit)}`}
      />
      <Meter label="KV cache" share={used} more={kept} text={`${percent(used)} in use, ${percent(kept)} kept`} />
    </section>
  );
}

function draftsRight(stats: Stats | null): string {
  if (!stats || stats.speculation.draft_tokens === 0) return "–";
  return percent(stats.speculation.accepted_draft_tokens / stats.speculation.draft_tokens);
}

/** The newest that is known: between answers nothing is read. */
export function lastRatio(history: readonly Point[]): number | null {
  return history.findLast(({ ratio }) => ratio !== null)?.ratio ?? null;
}

interface MeterProps {
  readonly label: string;
  readonly share: number;
  /** A second share, after the first. */
  readonly more?: number;
  readonly text: string;
}

function Meter({ label, share, more = 0, text }: MeterProps) {
  const width = (part: number) => ({ width: `${Math.min(1, part) * 100}%` });
  return (
    <div class="meter">
      <span>{label}</span>
      <span class="value">{text}</span>
      {/* biome-ignore lint/a11y/useSemanticElements: a meter element cannot show two shares */}
      <div
        class="bar"
        role="meter"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(Math.min(1, share) * 100)}
        aria-valuetext={text}
      >
        <div class="used" style={width(share)} />
        <div class="kept" style={width(Math.min(more, 1 - share))} />
      </div>
    </div>
  );
}
