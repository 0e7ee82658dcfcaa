import { statSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { ModelError, messageOf } from "../../models/errors.ts";
import { readModel } from "../../models/onnx/proto.ts";
import type { CacheSlot, DecoderSignature, PlainInput, ValueMetadata } from "./signature.ts";
import { bytesOf, floatsOf, integers } from "./tensors.ts";

/** Logits that a run makes at most, 64 MB of them: a graph gives those of all its rows, wanted or not. */
const MOST_LOGITS = 2 ** 24;
/** Bytes of a graph, mostly without its weights, that is looked through before ONNX Runtime opens it. */
const MOST_READ = 2 ** 26;

/** Keys and values of positions 0..length - 1, in the order of the signature's slots; of none for a graph without them. */
export interface Past {
  readonly length: number;
  readonly tensors: readonly Tensor[];
}

/** Which rows' logits a graph gives. */
type LogitRows = "all" | "last";

/** What a run is asked for: its tokens, and the logits of so many of the last ones. */
interface Run {
  readonly ids: Int32Array;
  readonly past: Past;
  readonly wanted: number;
}

/**
 * A decoder's ONNX file, opened as it is by onnxruntime-node, whose runs keep the thread that they are called in. One sequence at a
 * time.
 */
export class OnnxDecoder {
  readonly path: string;
  private readonly session: InferenceSession;
  private signature!: DecoderSignature;
  private rows: LogitRows = "all";
  /** Some graphs' masks are for a prompt or for one token: behind cached positions they run one at a time. */
  private behind: "any" | "one" = "any";

  private constructor(path: string, session: InferenceSession) {
    this.path = path;
    this.session = session;
  }

  /**
   * Throws ModelError "file_missing", "file_truncated" or "file_invalid" for a file that is damaged or whose weights are, with the
   * numbers; "unsupported_graph" with ONNX Runtime's reason.
   */
  static async open(path: string, threads: number): Promise<OnnxDecoder> {
    checkFiles(path);
    try {
      const options = {
        intraOpNumThreads: threads,
        // Errors come as exceptions.
        logSeverityLevel: 4,
        // It remembers a plan for every shape that it sees, and every step of a sequence has another.
        enableMemPattern: false,
      } as const;
      return new OnnxDecoder(path, await InferenceSession.create(path, options));
    } catch (error) {
      throw new ModelError("unsupported_graph", `ONNX Runtime cannot open ${path}: ${messageOf(error).trim()}`, {
        cause: error,
      });
    }
  }

  get inputs(): readonly ValueMetadata[] {
    return this.session.inputMetadata;
  }

  get outputs(): readonly ValueMetadata[] {
    return this.session.outputMetadata;
  }

  /**
   * Takes the signature that was read of the inputs and outputs, and tries it: a prompt, and a token behind it. Mutates; before
   * any run. Throws ModelError "unsupported_graph" for a graph that does not run so, with what is wrong.
   */
  async adopt(signature: DecoderSignature): Promise<void> {
    this.signature = signature;
    try {
      const whole = await this.runPart({ ids: Int32Array.of(0, 0), past: this.noPast(), wanted: 2 });
      const given = whole.logits.length / signature.vocabSize;
      if (given !== 2 && given !== 1) {
        throw new Error(
          `the output "${signature.logits}" has ${whole.logits.length} values for 2 tokens of ${signature.vocabSize} logits`,
        );
      }
      this.rows = given === 2 ? "all" : "last";
      if (signature.slots.length > 0) await this.tryBehind(whole.past);
    } catch (error) {
      throw new ModelError(
        "unsupported_graph",
        `${this.path} cannot be served as it is: on a prompt of 2 tokens and 2 behind it, ${messageOf(error).trim()}`,
        { cause: error },
      );
    }
  }

  /** Mutates. Throws what two tokens behind a prompt meet, if one alone meets something too. */
  private async tryBehind(past: Past): Promise<void> {
    try {
      await this.run(Int32Array.of(0, 0), past, 1);
    } catch (error) {
      this.behind = "one";
      await this.run(Int32Array.of(0), past, 1).catch(() => {
        throw error;
      });
    }
  }

  /** What a sequence begins with. */
  noPast(): Past {
    return { length: 0, tensors: this.signature.slots.map((slot) => pastTensor(slot, new Uint8Array(0), 0)) };
  }

  /** Cached keys and values from bytes, for each slot [heads][length][width]. */
  pastOf(length: number, bytes: readonly Uint8Array<ArrayBuffer>[]): Past {
    return { length, tensors: this.signature.slots.map((slot, i) => pastTensor(slot, bytes[i]!, length)) };
  }

  /**
   * Runs tokens behind `past`, which it does not change.
   * @param wanted of the last so many tokens the logits are wanted
   * @returns these, [wanted, vocabSize], and keys and values of all positions
   */
  async run(ids: Int32Array, past: Past, wanted: number): Promise<{ logits: Float32Array; past: Past }> {
    const { vocabSize } = this.signature;
    const logits = new Float32Array(wanted * vocabSize);
    let filled = 0;
    let current = past;
    for (const [begin, end] of this.parts(ids.length, wanted, past.length)) {
      const reached = Math.max(0, end - (ids.length - wanted));
      const own = this.rows === "last" ? Math.min(1, reached) : Math.min(end - begin, reached);
      const part = await this.runPart({ ids: ids.subarray(begin, end), past: current, wanted: own });
      if (part.logits.length < own * vocabSize) {
        throw new Error(
          `the output "${this.signature.logits}" has ${part.logits.length} values for ${own} tokens of ${vocabSize} logits`,
        );
      }
      logits.set(part.logits.subarray(part.logits.length - own * vocabSize), filled);
      filled += own * vocabSize;
      current = part.past;
    }
    return { logits, past: current };
  }

  async close(): Promise<void> {
    await this.session.release();
  }

  /**
   * Ranges of tokens that run together, so that no run gives too many logits. Where only the last row's can be had, each row of
   * which they are wanted is the last of a range. A graph that has no cache sees all tokens each time.
   */
  private parts(tokens: number, wanted: number, before: number): [number, number][] {
    const { slots, vocabSize } = this.signature;
    const single = this.rows === "last" ? Math.max(0, wanted - 1) : 0;
    const ends = Array.from({ length: single + 1 }, (_, i) => tokens - single + i);
    if (slots.length === 0) return ends.map((end) => [0, end]);
    const most = this.rows === "last" ? tokens : Math.max(1, Math.floor(MOST_LOGITS / vocabSize));
    if (this.behind === "one") {
      const first = before > 0 ? 1 : Math.min(most, ends[0]!);
      return [
        [0, first],
        ...Array.from({ length: tokens - first }, (_, i): [number, number] => [first + i, first + i + 1]),
      ];
    }
    const starts = ends.slice(0, -1);
    for (let start = Math.floor((ends[0]! - 1) / most) * most; start >= 0; start -= most) starts.unshift(start);
    return starts.map((start, i) => [start, starts[i + 1] ?? tokens]);
  }

  private async runPart(run: Run): Promise<{ logits: Float32Array; past: Past }> {
    const { inputs, slots, logits } = this.signature;
    const feeds: Record<string, Tensor> = {};
    for (const input of inputs) feeds[input.name] = plainFeed(input, run);
    for (const [i, { input }] of slots.entries()) feeds[input] = run.past.tensors[i]!;
    const fetched = [...slots.map(({ output }) => output), ...(run.wanted > 0 ? [logits] : [])];
    const results = await this.session.run(feeds, fetched);
    const length = slots.length === 0 ? 0 : run.past.length + run.ids.length;
    const tensors = slots.map((slot) => checkedPresent(slot, results[slot.output] as Tensor, length));
    return {
      logits: run.wanted > 0 ? floatsOf(results[logits] as Tensor) : new Float32Array(0),
      past: { length, tensors },
    };
  }
}

/** What ONNX Runtime would say of damaged files without naming them. One with weights inside is not read twice for that. */
function checkFiles(path: string): void {
  if (statSync(path).size > MOST_READ) return;
  try {
    readModel(path);
  } catch (error) {
    // Whatever else the reader does not know, ONNX Runtime may.
    if (error instanceof ModelError && error.code.startsWith("file_")) throw error;
  }
}

function plainFeed({ role, type, rank }: PlainInput, { ids, past, wanted }: Run): Tensor {
  switch (role) {
    case "ids":
      return integers(type, ids, [1, ids.length]);
    case "mask":
      return integers(type, new Int32Array(past.length + ids.length).fill(1), [1, past.length + ids.length]);
    case "positions": {
      const positions = Int32Array.from(ids, (_, i) => past.length + i);
      return integers(type, positions, rank === 1 ? [ids.length] : [1, ids.length]);
    }
    case "keptLogits":
      return integers(type, Int32Array.of(Math.max(1, wanted)), rank === 0 ? [] : [1]);
    case "usesCache":
      return integers(type, Int32Array.of(past.length > 0 ? 1 : 0), [1]);
  }
}

function pastTensor({ type, heads, width }: CacheSlot, bytes: Uint8Array<ArrayBuffer>, length: number): Tensor {
  const dims = [1, heads, length, width];
  const { buffer, byteOffset } = bytes;
  const values = heads * length * width;
  return type === "float32"
    ? new Tensor("float32", new Float32Array(buffer, byteOffset, values), dims)
    : new Tensor("float16", new Uint16Array(buffer, byteOffset, values), dims);
}

/** Throws Error for keys or values that are not those of so many positions: a window, or another layout. */
function checkedPresent({ output, heads, width }: CacheSlot, tensor: Tensor, length: number): Tensor {
  const expected = [1, heads, length, width];
  if (tensor.dims.length === 4 && tensor.dims.every((size, i) => size === expected[i])) return tensor;
  throw new Error(`the output "${output}" is [${tensor.dims.join(", ")}], must be [${expected.join(", ")}]`);
}

/** A past's keys and values as bytes, by slot. */
export function bytesOfPast({ tensors }: Past): Uint8Array[] {
  return tensors.map(bytesOf);
}
