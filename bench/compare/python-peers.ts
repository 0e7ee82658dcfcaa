import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { extname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { packageRoot } from "../../attention/root.ts";
import { exportedOf } from "./exported.ts";
import { bytesPerPosition, type MemoryOf, type Peer, type PeerContext, PeerMissing } from "./peer.ts";
import { WorkerSystem } from "./worker-system.ts";

const run = promisify(execFile);
const ofBatch = ({ config, positions, batch }: MemoryOf) => batch * positions * bytesPerPosition(config, 4);

/** As python/genai_peer.py has them. */
const SPARE = 1024;
const CHUNK = 512;

/** Hugging Face transformers on torch: the GGUF's weights dequantised to float32, or the checkpoint beside an ONNX model. */
export const transformers: Peer = {
  name: "transformers",
  memory: {
    held: ({ config, positions }) => positions * bytesPerPosition(config, 4),
    // A layer's keys and values are copied when they grow, and repeated for the query heads.
    transient: (request) => 1.5 * ofBatch(request),
  },
  start: async (context) => startPython("transformers", "transformers_peer.py", weightsOf(context), context),
};

/** The graph of onnxruntime-genai's own model builder: attention fused, one buffer for keys and values. */
export const onnxruntimeGenai: Peer = {
  name: "onnxruntime-genai",
  // One sequence's, and a batch's until the batch is another one. That is prefilled at once, with scores of all pairs of positions.
  memory: {
    held: ({ config, positions, batch }) =>
      ofBatch({ config, positions: positions + SPARE, batch: batch === 1 ? 1 : batch + 1 }),
    transient: ({ config, positions, batch }) =>
      4 * config.heads * (batch === 1 ? CHUNK * positions : batch * positions ** 2),
  },
  start: async (context) => startPython("onnxruntime-genai", "genai_peer.py", genaiOf(context), context),
};

function weightsOf(context: PeerContext): string {
  const { source } = context.model;
  if (extname(source) === ".gguf") return resolve(source);
  const { folder } = exportedOf(context);
  if (existsSync(join(folder, "model.safetensors"))) return folder;
  throw new PeerMissing(`it needs the weights as model.safetensors beside ${source}`);
}

function genaiOf(context: PeerContext): string {
  const { folder, remedy } = exportedOf(context);
  const genai = join(folder, "genai");
  if (existsSync(join(genai, "genai_config.json"))) return genai;
  throw new PeerMissing(`there is no ${join(genai, "genai_config.json")}; ${remedy}`);
}

async function startPython(name: string, script: string, path: string, { python, threads }: PeerContext) {
  try {
    await run(python, ["--version"]);
  } catch (error) {
    throw new PeerMissing(
      `${python} cannot be run (${(error as Error).message}); --python or SPARQ_PYTHON names an interpreter`,
    );
  }
  const file = join(packageRoot(), "bench", "compare", "python", script);
  // Nothing is fetched: a model that is not whole is an error.
  const env = { ...process.env, HF_HUB_OFFLINE: "1", OMP_NUM_THREADS: String(threads) };
  return WorkerSystem.start({ name, program: python, args: [file, path, String(threads)], env });
}
