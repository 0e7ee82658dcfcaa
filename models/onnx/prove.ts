import { ModelError } from "../errors.ts";
import type { ModelConfig } from "../types.ts";
import { type DenseAttentionInput, denseAttention, type Rows, type Slot } from "./dense-attention.ts";
import type { RunShape } from "./feeds.ts";
import type { Flow } from "./flow.ts";
import { describeNode } from "./graph.ts";
import { isHeadNorm, type Operand } from "./head-norm.ts";
import { type Hypothesis, hypotheses } from "./hypotheses.ts";
import type { FoundAttention } from "./match.ts";
import { DataType, toNumber } from "./messages.ts";
import { AttentionProbe, type Probe, type ProbeResult } from "./probe.ts";
import { elementCount, tensorToFloat32 } from "./tensor.ts";

/** An attention that computes what sparq.PagedAttention computes, shown by experiment. */
export interface ProvenAttention {
  readonly found: FoundAttention;
  readonly hypothesis: Hypothesis;
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
 * Largest accepted difference of a head's output, relative to its root mean square. Rounding in float32 was measured to
 * give 3e-6, over 131,072 positions too; one position that a mask hides among S gives about 1/sqrt(S).
 */
const TOLERANCE = 5e-5;

/** Random queries and keys with this deviation let few positions stand out, which shows errors of rope and scale best... */
const PEAKED = 1.5;
/** ...and with this one every position has a share in the result, which shows masks best. */
const EVEN = 0.75;

/** Memory that a long probe may take for one tensor. */
const PROBE_BYTES = 256 * 2 ** 20;

/**
 * Shows for every attention that it is: rope with the configuration's frequencies, scale 1/sqrt(head dim), softmax over
 * all positions up to the query's own or a window of them, grouped KV heads. Between projections and softmax only operations that are linear
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
  const candidates = found.map((attention) => ({ attention, left: hypotheses(attention, config, flow.graph) }));
  const session = await AttentionProbe.create(flow, found, config);
  try {
    const exact = { ...config, inverseFrequencies: adoptFrequencies(session, config) };
    const probes = planProbes(candidates, config, flow.inputs.oneToken);
    const differences = new Map<Hypothesis, number>();
    const ranks = new Map<string, number>();
    for (const [index, planned] of probes.entries()) {
      onProgress(index, probes.length);
      const { shape, result } = await runOrShorten(session, planned);
      for (const candidate of candidates) {
        const { attention, left } = candidate;
        ranks.set(attention.context, result.outputs.get(attention.context)!.dims.length);
        for (const hypothesis of left) {
          const difference = relativeDifference(attention, hypothesis, exact, shape, result);
          differences.set(hypothesis, Math.max(differences.get(hypothesis) ?? 0, difference));
        }
        candidate.left = left.filter((hypothesis) => differences.get(hypothesis)! <= TOLERANCE);
        if (candidate.left.length === 0) {
          refuse(attention, shape, Math.min(...left.map((hypothesis) => differences.get(hypothesis)!)), config);
        }
      }
    }
    const attentions = candidates.map(({ attention, left }) => {
      const hypothesis = left[0]!;
      return {
        found: attention,
        hypothesis,
        contextRank: ranks.get(attention.context)!,
        difference: differences.get(hypothesis)!,
      };
    });
    return { attentions, inverseFrequencies: exact.inverseFrequencies };
  } finally {
    await session.close();
  }
}

/**
 * Some masks are made for a prompt alone and for one token behind a cache: for several tokens behind one the graph fails, and
 * then a probe of one token is run in its place.
 */
async function runOrShorten(session: AttentionProbe, shape: Probe): Promise<{ shape: Probe; result: ProbeResult }> {
  try {
    return { shape, result: await session.run(shape) };
  } catch (error) {
    if (shape.past === 0 || shape.tokens === 1) throw error;
    const shorter = { ...shape, tokens: 1, past: shape.past + shape.tokens - 1 };
    return { shape: shorter, result: await session.run(shorter) };
  }
}

/** Where the caches' sizes are fixed they must be the configuration's. */
function checkCaches(flow: Flow, { kvHeads, headDim, file = "config.json" }: ModelConfig): void {
  for (const { name, type } of flow.inputs.past) {
    const dims = type!.tensorType!.shape!.dim.map(({ value, dimValue }) =>
      value === "dimValue" ? toNumber(dimValue) : undefined,
    );
    if ((dims[1] ?? kvHeads) === kvHeads && (dims[3] ?? headDim) === headDim) continue;
    throw new ModelError(
      "unsupported_config",
      `the input "${name}" has ${dims[1]} heads of ${dims[3]}, ${file} has ${kvHeads} KV heads of ${headDim}`,
    );
  }
}

function refuse(
  attention: FoundAttention,
  { tokens, past }: RunShape,
  difference: number,
  { file = "config.json", ropeVariant }: ModelConfig,
): never {
  const rope = ropeVariant === undefined ? "rope" : `rope as --max-context chooses it (${ropeVariant})`;
  throw new ModelError(
    "attention_unproven",
    `attention cannot be proven: layer ${attention.layer}, ${describeNode(attention.core)}: on ${tokens} tokens behind ` +
      `${past} cached ones its result differs from causal attention with ${file}'s heads and ${rope} by ` +
      `${difference.toExponential(1)} of its root mean square (accepted: ${TOLERANCE.toExponential(1)})`,
  );
}

/** A token alone, a prompt, a prompt behind a short cache, windows' ends, and the last positions that the model can have. */
function planProbes(
  candidates: readonly { readonly attention: FoundAttention; readonly left: readonly Hypothesis[] }[],
  config: ModelConfig,
  oneToken: boolean,
): Probe[] {
  const { heads, kvHeads, headDim, shortPositions } = config;
  // Longrope's short frequencies are proven as far as they are used.
  const maxPositions = Math.floor(config.ropeVariant === "short" ? shortPositions! : config.maxPositions);
  const cached = candidates.every(
    ({ attention: { pastKey, pastValue } }) => pastKey !== undefined && pastValue !== undefined,
  );
  // The short ones give every layer a cache of its own, so that reading another layer's shows.
  const short = { deviation: PEAKED, shareCache: false };
  const probes: Probe[] = [
    { tokens: 1, past: 0, ...short },
    { tokens: 7, past: 0, ...short },
  ];
  if (oneToken) {
    // A graph for steps behind a cache: what it computes for a token at each position is the model, whatever makes prompts.
    const last = Math.min(maxPositions - 1, Math.floor(PROBE_BYTES / (4 * kvHeads * headDim)));
    const windows = new Set(candidates.flatMap(({ left }) => left.map(({ window }) => window)));
    const ends = [...windows].flatMap((window) => [window - 1, window, window + 1]);
    return [
      ...[1, 2, 9].map((past) => ({ tokens: 1, past, ...short })),
      ...[...ends, last].map((past) => ({ tokens: 1, past, deviation: EVEN, shareCache: true })),
    ].filter(({ past }) => past > 0 && past <= last);
  }
  if (cached) {
    const longest = Math.floor(PROBE_BYTES / (4 * kvHeads * headDim));
    const past = Math.min(maxPositions - 2, longest);
    // Rows of one run on both sides of a window's end.
    const windows = new Set(candidates.flatMap(({ left }) => left.map(({ window }) => window)));
    const ends = [...windows].filter((window) => window > 2 && window < past);
    probes.push(
      { tokens: 3, past: 5, ...short },
      ...ends.map((window) => ({ tokens: 5, past: window - 3, deviation: EVEN, shareCache: true })),
      { tokens: 2, past, deviation: EVEN, shareCache: true },
    );
  } else {
    const longest = Math.floor(Math.sqrt(PROBE_BYTES / (4 * heads)));
    if (maxPositions > longest) {
      throw new ModelError(
        "attention_unproven",
        `attention cannot be proven: the graph has no past_key_values inputs, so its mask can be tried on ${longest} ` +
          `tokens at most and the model has ${maxPositions} positions: export it with its cache`,
      );
    }
    probes.push({ tokens: maxPositions, past: 0, deviation: EVEN, shareCache: true });
  }
  return probes.filter(({ tokens, past }) => past >= 0 && tokens + past <= maxPositions);
}

/** Rows whose results are compared: all of a short probe; of a long one the first, the last and some between. */
function rowsToCheck(tokens: number): number[] {
  if (tokens <= 8) return Array.from({ length: tokens }, (_, row) => row);
  return [0, 1, ...[1 / 4, 1 / 2, 3 / 4].map((part) => Math.floor(tokens * part)), tokens - 2, tokens - 1];
}

function relativeDifference(
  found: FoundAttention,
  { layout, window, interleaved, scale }: Hypothesis,
  config: ModelConfig,
  shape: RunShape,
  { inputs, outputs }: ProbeResult,
): number {
  const rows = (operand: Operand, slot: Slot): Rows => {
    const data = isHeadNorm(operand) ? outputs.get(operand.tensor)!.data : inputs.get(operand.tensor)!;
    return { data, width: data.length / shape.tokens, slot };
  };
  const cache = (name: string | undefined) => (name && inputs.get(name)) || new Float32Array(0);
  const input: DenseAttentionInput = {
    config,
    window,
    interleaved,
    scale,
    tokens: shape.tokens,
    past: shape.past,
    query: rows(found.query, layout.query),
    key: rows(found.key, layout.key),
    value: rows(found.value, layout.value),
    pastKeys: cache(found.pastKey),
    pastValues: cache(found.pastValue),
  };
  const actual = outputs.get(found.context)!.data;
  const width = config.heads * config.headDim;
  const widths = [width, config.kvHeads * config.headDim];
  // Widths of projections were compared before; those of norms show only now.
  const fits =
    isFitting(input.query, widths[0]!) && isFitting(input.key, widths[1]!) && isFitting(input.value, widths[1]!);
  if (actual.length !== shape.tokens * width || !fits) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (const row of rowsToCheck(shape.tokens)) {
    const expected = denseAttention(input, row);
    for (let start = 0; start < width; start += config.headDim) {
      let largest = 0;
      let squares = 0;
      for (let i = start; i < start + config.headDim; i++) {
        largest = Math.max(largest, Math.abs(actual[row * width + i]! - expected[i]!));
        squares += expected[i]! ** 2;
      }
      // NaN stays NaN.
      worst = Math.max(worst, largest / Math.sqrt(squares / config.headDim));
    }
  }
  return Number.isNaN(worst) ? Number.POSITIVE_INFINITY : worst;
}

/** Whether rows have so many components at least, which come from one run of tokens. */
function isFitting({ width }: Rows, least: number): boolean {
  return Number.isInteger(width) && width >= least;
}

/**
 * The graph's own rope frequencies, if it has a constant that equals the configuration's up to rounding, which in a model
 * that was float16 once is float16's: angles then agree with the export to the last bit. Else the configuration's.
 */
function adoptFrequencies(session: AttentionProbe, { inverseFrequencies }: ModelConfig): Float32Array {
  let best = inverseFrequencies;
  let least = 1;
  for (const tensor of session.constants) {
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
