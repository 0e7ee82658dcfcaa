import type { ComponentChildren } from "preact";
import { kStops, nearestStop } from "./k-stops.ts";
import { attentionOf, type Settings } from "./settings.ts";
import type { Stats } from "./stats.ts";

export interface SettingsPanelProps {
  readonly settings: Settings;
  readonly stats: Stats | null;
  readonly onChange: (settings: Settings) => void;
}

export function SettingsPanel({ settings, stats, onChange }: SettingsPanelProps) {
  const set = (changes: Partial<Settings>) => onChange({ ...settings, ...changes });
  return (
    <section class="settings" aria-label="Settings">
      <h2>Attention</h2>
      <AttentionFields settings={settings} stats={stats} set={set} />
      <h2>Answer</h2>
      <Slider
        id="temperature"
        label="Temperature"
        value={settings.temperature}
        text={settings.temperature.toFixed(2)}
        least={0}
        most={2}
        step={0.05}
        onChange={(temperature) => set({ temperature })}
      />
      <div class="pair">
        <WholeNumber
          id="max-tokens"
          label="Max tokens"
          placeholder="no limit"
          least={1}
          value={settings.maxTokens}
          onChange={(maxTokens) => set({ maxTokens })}
        />
        <WholeNumber
          id="seed"
          label="Seed"
          placeholder="random"
          least={0}
          value={settings.seed}
          onChange={(seed) => set({ seed })}
        />
      </div>
      <label for="system">System prompt</label>
      <textarea
        id="system"
        rows={3}
        value={settings.system}
        placeholder="None"
        onInput={(event) => set({ system: event.currentTarget.value })}
      />
    </section>
  );
}

interface FieldsProps {
  readonly settings: Settings;
  readonly stats: Stats | null;
  readonly set: (changes: Partial<Settings>) => void;
}

/** Before the server has said what its model's ranges are, the controls have their place but do nothing. */
function AttentionFields({ settings, stats, set }: FieldsProps) {
  const { mode, r, k } = stats ? attentionOf(settings, stats) : { mode: "sparq", r: 1, k: 1 };
  const stops = kStops(stats?.context_length ?? 1);
  const off = stats === null || mode === "dense";
  const modes = [
    { value: "sparq", name: "SparQ" },
    { value: "dense", name: "Dense" },
  ] as const;
  if (stats?.attention.mode === "onnx") {
    return <p class="note">The model's own, dense: ONNX Runtime runs it as it is (--attention=onnx).</p>;
  }
  return (
    <>
      <fieldset class="modes" disabled={stats === null}>
        <legend class="hidden">Attention mode</legend>
        {modes.map(({ value, name }) => (
          <label key={value}>
            <input type="radio" name="mode" checked={mode === value} onChange={() => set({ mode: value })} />
            <span class="mode">{name}</span>
          </label>
        ))}
      </fieldset>
      <Slider
        id="r"
        label="r"
        hint="components of each key that rank the positions"
        value={r}
        text={`${r} of ${stats?.head_size ?? "–"}`}
        least={1}
        most={stats?.head_size ?? 1}
        step={1}
        disabled={off}
        onChange={(value) => set({ r: value })}
      />
      <Slider
        id="k"
        label="k"
        hint="positions that are attended exactly"
        value={nearestStop(stops, k)}
        text={`${k.toLocaleString("en")} of ${stats?.context_length.toLocaleString("en") ?? "–"}`}
        least={0}
        most={stops.length - 1}
        step={1}
        disabled={off}
        onChange={(stop) => set({ k: stops[stop]! })}
      />
    </>
  );
}

interface SliderProps {
  readonly id: string;
  readonly label: string;
  readonly hint?: string;
  readonly value: number;
  /** The value as it is shown and read out. */
  readonly text: string;
  readonly least: number;
  readonly most: number;
  readonly step: number;
  readonly disabled?: boolean;
  readonly onChange: (value: number) => void;
}

function Slider({ id, label, hint, value, text, least, most, step, disabled = false, onChange }: SliderProps) {
  return (
    <div class="slider">
      <Labelled id={id} label={label} text={text}>
        {hint && <span class="note">{hint}</span>}
      </Labelled>
      <input
        id={id}
        type="range"
        min={least}
        max={most}
        step={step}
        value={value}
        disabled={disabled}
        aria-valuetext={text}
        onInput={(event) => onChange(event.currentTarget.valueAsNumber)}
      />
    </div>
  );
}

function Labelled(props: { id: string; label: string; text: string; children?: ComponentChildren }) {
  return (
    <div class="labelled">
      <label for={props.id}>
        {props.label} {props.children}
      </label>
      <span class="value">{props.text}</span>
    </div>
  );
}

interface WholeNumberProps {
  readonly id: string;
  readonly label: string;
  readonly placeholder: string;
  readonly least: number;
  readonly value: number | null;
  readonly onChange: (value: number | null) => void;
}

/** Empty, or no whole number, is null. */
function WholeNumber({ id, label, placeholder, least, value, onChange }: WholeNumberProps) {
  return (
    <div>
      <label for={id}>{label}</label>
      <input
        id={id}
        type="number"
        inputMode="numeric"
        min={least}
        step={1}
        value={value ?? ""}
        placeholder={placeholder}
        onInput={({ currentTarget: { valueAsNumber } }) =>
          onChange(Number.isSafeInteger(valueAsNumber) && valueAsNumber >= least ? valueAsNumber : null)
        }
      />
    </div>
  );
}
