import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { expect, it } from "vitest";
import { OnnxThread } from "../../../attention/onnx/thread.ts";
import { builtinFolder } from "../../models/exports.ts";

const path = join(builtinFolder, "tiny-llama/model.onnx");

it("tells that it has died, and fails what is asked of it", async () => {
  const thread = new OnnxThread({ path, threads: 1 });
  const { inputs } = await thread.opened;
  expect(inputs[0]!.name).toBe("input_ids");
  expect(thread.died).toBeNull();
  await (Reflect.get(thread, "worker") as Worker).terminate();
  expect(thread.died?.message).toBe("the ONNX Runtime thread ended with code 1");
  await expect(thread.begin({ kind: "begin", signature: {} as never, blocks: 1, blockSize: 1 })).rejects.toBe(
    thread.died,
  );
  expect(() => thread.copy(0, 0)).toThrow("ended with code 1");
});

it("has not died where it was closed", async () => {
  const thread = new OnnxThread({ path, threads: 1 });
  await thread.opened;
  const exit = new Promise((resolve) => (Reflect.get(thread, "worker") as Worker).once("exit", resolve));
  thread.close();
  expect(await exit).toBe(0);
  expect(thread.died).toBeNull();
});
