import { parentPort, workerData } from "node:worker_threads";
import { ModelError, messageOf } from "../../models/errors.ts";
import { loadAddon } from "../binding.ts";
import { OnnxDecoder } from "./decoder.ts";
import type { OnnxReply, OnnxRequest, OnnxWorkerData } from "./messages.ts";
import { OnnxStepper, type SampleRows } from "./stepper.ts";

/** Opens a decoder and runs its steps: onnxruntime-node keeps the thread that calls it until a run has ended. */

const { path, threads } = workerData as OnnxWorkerData;
const port = parentPort!;
let decoder: OnnxDecoder;
let stepper: OnnxStepper | undefined;
/** Why a copy could not be made: the next step must not read what is there instead. */
let copyFault: string | undefined;

const sample: SampleRows = (vocabSize, logits, input) => {
  const addon = loadAddon();
  return addon.sample(addon.defaultPath(), threads, vocabSize, logits, input);
};

async function answer(request: OnnxRequest): Promise<OnnxReply> {
  if (request.kind === "begin") {
    const { signature, blocks, blockSize } = request;
    await decoder.adopt(signature);
    stepper = new OnnxStepper(decoder, { signature, blocks, blockSize, sample });
    return { kind: "began" };
  }
  if (request.kind === "step") {
    if (copyFault !== undefined) throw new Error(copyFault);
    return { kind: "stepped", output: await stepper!.step(request.input) };
  }
  throw new TypeError(`${request.kind} is not answered`);
}

function copy(from: number, to: number): void {
  try {
    stepper!.copyBlock(from, to);
  } catch (error) {
    copyFault ??= `block ${from} could not be copied to ${to}: ${messageOf(error)}`;
  }
}

function failure(error: unknown): OnnxReply {
  const code = error instanceof ModelError ? { code: error.code } : {};
  return { kind: "failed", message: messageOf(error), ...code };
}

function reply(message: OnnxReply): void {
  const logits = message.kind === "stepped" ? message.output.logits : undefined;
  port.postMessage(message, logits === undefined ? [] : [logits.buffer as ArrayBuffer]);
}

/** One after the other: a run gives the event loop a turn before it begins. */
let last: Promise<void> = OnnxDecoder.open(path, threads).then(
  (opened) => {
    decoder = opened;
    reply({ kind: "opened", inputs: opened.inputs, outputs: opened.outputs });
  },
  (error: unknown) => {
    reply(failure(error));
    port.close();
  },
);
port.on("message", (request: OnnxRequest) => {
  last = last.then(async () => {
    if (request.kind === "copy") copy(request.from, request.to);
    else if (request.kind === "close") {
      port.close();
      await decoder?.close();
    } else reply(await answer(request).catch(failure));
  });
});
