import type { AttentionSettings, CacheDtype, ScanDtype } from "../../attention/types.ts";

/** The heads of one layer. */
export interface KernelShape {
  readonly kvHeads: number;
  /** Query heads of a KV head. */
  readonly groupSize: number;
  readonly headDim: number;
}

export const shapeNames = ["smollm2-135m", "llama"] as const;
export type ShapeName = (typeof shapeNames)[number];

/** SmolLM2-135M's, and Llama-3-8B's. */
export const shapes: Readonly<Record<ShapeName, KernelShape>> = {
  "smollm2-135m": { kvHeads: 3, groupSize: 3, headDim: 64 },
  llama: { kvHeads: 8, groupSize: 4, headDim: 128 },
};

/** One cache, all of it filled. */
export interface Cell {
  readonly shape: ShapeName;
  /** Positions of each sequence. */
  readonly context: number;
  readonly batch: number;
}

export interface Kernel {
  readonly kernel: "naive" | "dense" | "sparq";
  readonly settings: AttentionSettings;
}

/** What is measured over one store. */
export interface StoreCase {
  readonly dtype: CacheDtype;
  readonly scanDtype: ScanDtype;
  readonly kernels: readonly Kernel[];
}

/**
 * Stores of one dtype: open at the same time, their kernels run in turn, and the dense kernel of the first is what the
 * others are compared with.
 */
export type Family = readonly [StoreCase, ...StoreCase[]];

const BASE = { r: 16, k: 128, local: 32, meanValue: false, groupSum: "softmax" } as const;
const dense: Kernel = { kernel: "dense", settings: { mode: "dense", ...BASE } };
const naive: Kernel = { ...dense, kernel: "naive" };

function sparq(changes: Partial<AttentionSettings> = {}): Kernel {
  const { k = BASE.k } = changes;
  return { kernel: "sparq", settings: { mode: "sparq", ...BASE, local: k / 4, ...changes } };
}

/** Every way that SparQ is set; one at a time departs from r 16, k 128. */
const variants = [
  sparq(),
  sparq({ r: 32 }),
  sparq({ k: 256 }),
  sparq({ meanValue: true }),
  sparq({ bucketTopK: 1 }),
  sparq({ bucketTopK: 2 }),
  sparq({ bucketTopK: 4 }),
];

/** Positions of all sequences together: one thread's plain loop takes a second for about so many. */
const NAIVE_POSITIONS = { full: 131_072, quick: 16_384 };

/** What is measured at a cell; the plain loop only where it does not take all the time. */
export function familiesOf({ context, batch }: Omit<Cell, "shape">, quick: boolean): readonly Family[] {
  const loop = context * batch <= NAIVE_POSITIONS[quick ? "quick" : "full"] ? [naive] : [];
  const plain: Family = [{ dtype: "f32", scanDtype: "f32", kernels: [...loop, dense, sparq()] }];
  if (quick) {
    const half: Family = [{ dtype: "bf16", scanDtype: "int8", kernels: [dense, sparq()] }];
    return loop.length > 0 ? [plain, half] : [half];
  }
  return [
    plain,
    [{ dtype: "f16", scanDtype: "int8", kernels: [dense, ...variants] }],
    [
      { dtype: "bf16", scanDtype: "int8", kernels: [dense, sparq()] },
      { dtype: "bf16", scanDtype: "bf16", kernels: [sparq()] },
      { dtype: "bf16", scanDtype: "f32", kernels: [sparq()] },
    ],
    [{ dtype: "int8", scanDtype: "int8", kernels: [dense, sparq()] }],
    [{ dtype: "fp8", scanDtype: "int8", kernels: [dense, sparq()] }],
  ];
}
