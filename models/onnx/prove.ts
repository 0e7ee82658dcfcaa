import { ModelError } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import { type DenseAttentionInput, denseAttention, type Rows, type Slot } from "./dense-attention.ts";
import type { RunShape } from "./feeds.ts";
import type { Flow, Projection } from "./flow.ts";
import { describeNode } from "./graph.ts";
import { type Layout, possibleLayouts } from "./layouts.ts";
import type { FoundAttention } from "./match.ts";
import { DataType, toNumber } from "./messages.ts";
import { AttentionProbe, type ProbeResult } from "./probe.ts";
import { elementCount, tensorToFloat32 } from "./tensor.ts";

/** An attention that computes what sparq.PagedAttention computes, shown by experiment. */
export interface ProvenAttention {
  readonly found: FoundAttention;
  readonly layout: Layout;
  /** Dimensions of the context tensor: 2 or 3. */
  readonly contextRank: number;
  /** Largest difference seen, relative to the root mean square of the outputs. */
  readonly difference: number;
}

export interface Proof {
  readonly attentions: readonly ProvenAttention[];
  /** Rope's frequencies as the graph has them, the same as the configuration's up to rounding. */
  readonly inverseFrequencies: Float32Array;
}

/**
 * Largest accepted difference relative to the outputs' root mean square. Exports agree to about 1e-5 (float32 rounding
 * over thousands of positions); a single hidden position out of 100,000, or a rope theta that is off by 1e-3, gives more.
 */
const TOLERANCE = 5e-4;

/** Memory that a long probe may take for one tensor. */
const PROBE_BYTES = 256 * 2 ** 20;

/**
 * Shows for every attention that it is: rope with the configuration's frequencies, scale 1/sqrt(head dim), softmax over
 * all positions up to the query's own, grouped KV heads. Between projections and softmax only operations that are linear
 * in the activations were let through (match.ts), so random activations decide for all; lengths and positions are
 * sampled, up to the last position of the model, where a window or a mask that is not causal shows.
 * @throws ModelError "attention_unproven" naming layer, node, probe and difference
 */
export async function proveAttentions(
  flow: Flow,
  found: readonly FoundAttention[],
  config: ModelConfig,
  onProgress: (done: number, total: number) => void,
): Promise<Proof> {
  checkCaches(flow, config);
  const candidates = found.map((attention) => ({ attention, layouts: possibleLayouts(attention, config) }));
  const probe = await AttentionProbe.create(flow, found, config);
  try {
    const exact = { ...config, inverseFrequencies: adoptFrequencies(probe, config) };
    const shapes = probeShapes(found, config);
    const differences = new Map<Layout, number>();
    const ranks = new Map<string, number>();
    for (const [index, shape] of shapes.entries()) {
      onProgress(index, shapes.length);
      // The first probes give every layer a cache of its own, so that reading another layer's shows.
      const result = await probe.run(shape, shape.past > 1000);
      for (const candidate of candidates) {
        const { attention, layouts } = candidate;
        ranks.set(attention.context, result.outputs.get(attention.context)!.dims.length);
        for (const layout of layouts) {
          const difference = relativeDifference(attention, layout, exact, shape, result);
          differences.set(layout, Math.max(differences.get(layout) ?? 0, difference));
        }
        candidate.layouts = layouts.filter((layout) => differences.get(layout)! <= TOLERANCE);
        if (candidate.layouts.length === 0) {
          refuse(attention, shape, Math.min(...layouts.map((layout) => differences.get(layout)!)));
        }
      }
    }
    const attentions = candidates.map(({ attention, layouts }) => {
      const layout = layouts[0]!;
      return {
        found: attention,
        layout,
        contextRank: ranks.get(attention.context)!,
        difference: differences.get(layout)!,
      };
    });
    return { attentions, inverseFrequencies: exact.inverseFrequencies };
  } finally {
    await probe.close();
  }
}

/** Where the caches' sizes are fixed they must be the configuration's. */
function checkCaches(flow: Flow, { kvHeads, headDim }: ModelConfig): void {
  for (const { name, type } of flow.inputs.past) {
    const dims = type!.tensorType!.shape!.dim.map(({ value, dimValue }) =>
      value === "dimValue" ? toNumber(dimValue) : undefined,
    );
    if ((dims[1] ?? kvHeads) === kvHeads && (dims[3] ?? headDim) === headDim) continue;
    throw new ModelError(
      "unsupported_config",
      `the input "${name}" has ${dims[1]} heads of ${dims[3]}, config.json has ${kvHeads} KV heads of ${headDim}`,
    );
  }
}

function refuse(attention: FoundAttention, { tokens, past }: RunShape, difference: number): never {
  throw new ModelError(
    "attention_unproven",
    `attention cannot be proven: layer ${attention.layer}, ${describeNode(attention.core)}: on ${tokens} tokens behind ` +
      `${past} cached ones its result differs from causal attention with config.json's heads and rope by ` +
      `${difference.toExponential(1)} of its root mean square (accepted: ${TOLERANCE.toExponential(1)})`,
  );
}

/** A token alone, a prompt, a prompt behind a short cache, and the last positions that the model can have. */
function probeShapes(found: readonly FoundAttention[], config: ModelConfig): RunShape[] {
  const { heads, kvHeads, headDim, maxPositions } = config;
  const cached = found.every(({ pastKey, pastValue }) => pastKey !== undefined && pastValue !== undefined);
  const short: RunShape[] = [
    { tokens: 1, past: 0 },
    { tokens: 7, past: 0 },
  ];
  if (cached) {
    const longest = Math.floor(PROBE_BYTES / (4 * kvHeads * headDim));
    const shapes = [...short, { tokens: 3, past: 5 }, { tokens: 2, past: Math.min(maxPositions - 2, longest) }];
    return shapes.filter(({ tokens, past }) => past >= 0 && tokens + past <= maxPositions);
  }
  const longest = Math.floor(Math.sqrt(PROBE_BYTES / (4 * heads)));
  if (maxPositions > longest) {
    throw new ModelError(
      "attention_unproven",
      `attention cannot be proven: the graph has no past_key_values inputs, so its mask can be tried on ${longest} tokens ` +
        `at most and the model has ${maxPositions} positions: export it with its cache`,
    );
  }
  return [...short.filter(({ tokens }) => tokens < maxPositions), { tokens: maxPositions, past: 0 }];
}

/** Rows whose results are compared: all of a short probe; of a long one the first, the last and some between. */
function rowsToCheck(tokens: number): number[] {
  if (tokens <= 8) return Array.from({ length: tokens }, (_, row) => row);
  return [0, 1, ...[1 / 4, 1 / 2, 3 / 4].map((part) => Math.floor(tokens * part)), tokens - 2, tokens - 1];
}

function relativeDifference(
  found: FoundAttention,
  layout: Layout,
  config: ModelConfig,
  shape: RunShape,
  { inputs, outputs }: ProbeResult,
): number {
  const rows = (projection: Projection, slot: Slot): Rows => {
    return { data: inputs.get(projection.tensor)!, width: projection.width, slot };
  };
  const cache = (name: string | undefined) => (name && inputs.get(name)) || new Float32Array(0);
  const input: DenseAttentionInput = {
    config,
    ...shape,
    query: rows(found.query, layout.query),
    key: rows(found.key, layout.key),
    value: rows(found.value, layout.value),
    pastKeys: cache(found.pastKey),
    pastValues: cache(found.pastValue),
  };
  const actual = outputs.get(found.context)!.data;
  const width = config.heads * config.headDim;
  if (actual.length !== shape.tokens * width) return Number.POSITIVE_INFINITY;
  let worst = 0;
  let squares = 0;
  const checked = rowsToCheck(shape.tokens);
  for (const row of checked) {
    const expected = denseAttention(input, row);
    for (let i = 0; i < width; i++) {
      const difference = Math.abs(actual[row * width + i]! - expected[i]!);
      // NaN stays NaN.
      worst = Math.max(worst, difference);
      squares += expected[i]! ** 2;
    }
  }
  return Number.isNaN(worst) ? Number.POSITIVE_INFINITY : worst / Math.sqrt(squares / (checked.length * width));
}

/**
 * The graph's own rope frequencies, if it has a constant that equals the configuration's up to rounding, which in a model
 * that was float16 once is float16's: angles then agree with the export to the last bit. Else the configuration's.
 */
function adoptFrequencies(probe: AttentionProbe, { inverseFrequencies }: ModelConfig): Float32Array {
  let best = inverseFrequencies;
  let least = 1;
  for (const tensor of probe.constants) {
    if (tensor.dataType !== DataType.FLOAT || elementCount(tensor) !== inverseFrequencies.length) continue;
    const values = tensorToFloat32(tensor);
    const distance = Math.max(...values.map((value, i) => float16Steps(value, inverseFrequencies[i]!)));
    if (distance < least) {
      least = distance;
      best = values;
    }
  }
  return best;
}

/** Distance in units of the last place that float16 would have at b. */
function float16Steps(a: number, b: number): number {
  return Math.abs(a - b) / Math.max(Math.abs(b) * 2 ** -10, 2 ** -24);
}
