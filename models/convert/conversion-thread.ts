import { parentPort, workerData } from "node:worker_threads";
import { ModelError } from "../errors.ts";
import { runConversion } from "./conversion.ts";
import { sharedQuantiser } from "./helpers.ts";
import type { ConversionReply, ConversionThreadData } from "./messages.ts";

const { conversion, helpers } = workerData as ConversionThreadData;
const say = (reply: ConversionReply) => parentPort!.postMessage(reply);
try {
  const onProgress = (...progress: readonly [number, number, string]) => say({ progress });
  say({ report: await runConversion(conversion, onProgress, sharedQuantiser(helpers)) });
} catch (error) {
  if (!(error instanceof ModelError)) throw error;
  say({ error: { code: error.code, message: error.message } });
}
