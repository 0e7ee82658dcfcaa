// transformers.js on the same file as onnxruntime.ts: node --expose-gc transformers-js.js MODEL.onnx THREADS MODULE
import { basename, dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { Tensor } from "onnxruntime-node";
import { type Decoder, DenseWorker, type Feeds } from "./dense-worker.ts";
import { serve } from "./worker.ts";

/** What is used of it: it is no dependency, so its own types are not there. */
interface TransformersJs {
  readonly env: { version: string; allowRemoteModels: boolean; localModelPath: string };
  readonly DynamicCache: new (entries: Record<string, unknown>) => object;
  readonly Tensor: new (type: string, data: unknown, dims: readonly number[]) => unknown;
  readonly AutoModelForCausalLM: {
    from_pretrained(folder: string, options: Readonly<Record<string, unknown>>): Promise<Model>;
  };
}

interface Model {
  readonly config: Readonly<Record<string, number>>;
  readonly sessions: { readonly model: { readonly outputNames: readonly string[] } };
  forward(inputs: Readonly<Record<string, unknown>>): Promise<Record<string, OwnTensor>>;
}

interface OwnTensor {
  readonly ort_tensor: Tensor;
}

const [path, threads, module] = process.argv.slice(2) as [string, string, string];

async function load(): Promise<DenseWorker> {
  const library = (await import(pathToFileURL(module).href)) as TransformersJs;
  const { env, AutoModelForCausalLM, DynamicCache, Tensor: TensorOfIts } = library;
  env.allowRemoteModels = false;
  env.localModelPath = dirname(dirname(path));
  const model = await AutoModelForCausalLM.from_pretrained(basename(dirname(path)), {
    ...{
      subfolder: "",
      model_file_name: basename(path, ".onnx"),
      dtype: "fp32",
      device: "cpu",
      local_files_only: true,
    },
    session_options: { intraOpNumThreads: Number(threads), logSeverityLevel: 3 },
  });
  // Its own module of tensors may be another one than ours, with the same data in it.
  const own = ({ type, data, dims }: Tensor) => new TensorOfIts(type, data, dims);
  const { vocab_size, num_attention_heads, num_key_value_heads, hidden_size, head_dim } = model.config;
  const presents = model.sessions.model.outputNames.filter((name) => name.startsWith("present."));
  const kvHeads = num_key_value_heads ?? num_attention_heads!;
  const headDim = head_dim ?? hidden_size! / num_attention_heads!;
  const none = new Tensor("float32", new Float32Array(0), [1, kvHeads, 0, headDim]);
  const decoder: Decoder = {
    versions: { "transformers.js": env.version },
    vocabSize: vocab_size!,
    layers: presents.length / 2,
    async run({ inputIds, attentionMask, past }: Feeds) {
      // Left to itself it takes the batch of an empty cache from the names that exporters give to dimensions.
      const pasts = presents.map((name) => name.replace("present", "past_key_values"));
      const entries = pasts.map((name) => [name, own(past.get(name) ?? none)]);
      const results = await model.forward({
        input_ids: own(inputIds),
        attention_mask: own(attentionMask),
        past_key_values: new DynamicCache(Object.fromEntries(entries)),
      });
      const after = presents.map((name, i) => [pasts[i]!, results[name]!.ort_tensor] as const);
      return { logits: results.logits!.ort_tensor, past: new Map(after) };
    },
  };
  return new DenseWorker(decoder);
}

await serve(load);
