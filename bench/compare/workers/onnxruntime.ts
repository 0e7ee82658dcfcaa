// onnxruntime-node on an ONNX model as it was exported: node --expose-gc onnxruntime.js MODEL.onnx THREADS CONFIG
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { type Decoder, DenseWorker, type Feeds } from "./dense-worker.ts";
import { serve } from "./worker.ts";

const [path, threads, sizes] = process.argv.slice(2) as [string, string, string];

async function load(): Promise<DenseWorker> {
  const session = await InferenceSession.create(path, { intraOpNumThreads: Number(threads), logSeverityLevel: 3 });
  const presents = session.outputNames.filter((name) => name.startsWith("present."));
  if (presents.length === 0) throw new Error(`${path} has no outputs present.*: it keeps no keys and values`);
  const { vocabSize, kvHeads, headDim } = JSON.parse(sizes);
  const none = new Tensor("float32", new Float32Array(0), [1, kvHeads, 0, headDim]);
  const packageJson = createRequire(import.meta.url).resolve("onnxruntime-node/package.json");
  const { version } = JSON.parse(readFileSync(packageJson, "utf8"));
  const decoder: Decoder = {
    ...{ versions: { "onnxruntime-node": version }, vocabSize, layers: presents.length / 2 },
    async run({ inputIds, attentionMask, positionIds, past }: Feeds) {
      const own = { input_ids: inputIds, attention_mask: attentionMask, position_ids: positionIds };
      const feed = (name: string) => own[name as keyof typeof own] ?? past.get(name) ?? none;
      const results = await session.run(Object.fromEntries(session.inputNames.map((name) => [name, feed(name)])));
      const after = presents.map(
        (name) => [name.replace("present", "past_key_values"), results[name] as Tensor] as const,
      );
      return { logits: results.logits as Tensor, past: new Map(after) };
    },
  };
  return new DenseWorker(decoder);
}

await serve(load);
