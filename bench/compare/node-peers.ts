import { createRequire } from "node:module";
import { join } from "node:path";
import { packageRoot } from "../../attention/root.ts";
import { onnxOf } from "./exported.ts";
import { bytesPerPosition, type MemoryOf, type Peer, type PeerContext, type PeerMemory, PeerMissing } from "./peer.ts";
import { WorkerSystem } from "./worker-system.ts";

/** The release of transformers.js that the comparison is written for; it brings the release of onnxruntime-node that we have. */
export const TRANSFORMERS_JS_VERSION = "4.3.1";

const ofBatch = ({ config, positions, batch }: MemoryOf) => batch * positions * bytesPerPosition(config, 4);

/** ONNX Runtime's arena keeps what a batch's steps took: 2.9 times the batch's cache were measured. */
const memory: PeerMemory = {
  held: (request) => 3 * ofBatch(request) + ofBatch({ ...request, batch: 1 }),
  transient: () => 0,
};

/** The unmodified ONNX model through onnxruntime-node: dense attention, with every position's keys and values copied each step. */
export const onnxruntime: Peer = {
  name: "onnxruntime",
  memory,
  start: async (context) => startWorker("onnxruntime", context, JSON.stringify(context.model.config)),
};

/** The same file through transformers.js. */
export const transformersJs: Peer = {
  name: "transformers.js",
  memory,
  async start(context) {
    const module = locateTransformersJs();
    return startWorker("transformers.js", context, module);
  },
};

/** The module of transformers.js for Node. Throws PeerMissing with the command that installs it. */
export function locateTransformersJs(resolve = createRequire(join(packageRoot(), "package.json")).resolve): string {
  try {
    return resolve("@huggingface/transformers");
  } catch {
    const command = `npm install --no-save --ignore-scripts @huggingface/transformers@${TRANSFORMERS_JS_VERSION}`;
    throw new PeerMissing(`transformers.js is not installed; get it with: ${command} (in ${packageRoot()})`);
  }
}

function startWorker(name: string, context: PeerContext, last: string): Promise<WorkerSystem> {
  const entry = `${name.replace(".", "-")}.js`;
  const file = join(packageRoot(), "dist", "bench", "compare", "workers", entry);
  const args = ["--expose-gc", file, onnxOf(context), String(context.threads), last];
  return WorkerSystem.start({ name, program: process.execPath, args });
}
