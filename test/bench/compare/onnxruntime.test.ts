import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { readRecord } from "../../../bench/record/record.ts";
import { runCli } from "../../support/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-onnxruntime-"));
afterAll(() => rmSync(folder, { recursive: true }));

it("measures a built-in model beside onnxruntime on the unmodified file", async () => {
  const [json, report] = [join(folder, "onnx.json"), join(folder, "onnx.html")];
  const sizes = [
    "--context",
    "100",
    "--batch",
    "2",
    "--rounds",
    "3",
    "--steps",
    "2",
    "--threads",
    "1",
    "--prefill",
    "1",
  ];
  const flags = ["bench", "compare", "--model", "tiny-llama", "--peers", "llama.cpp,onnxruntime", ...sizes];
  const { exitCode, out, err } = await runCli([...flags, "--json", json, "--report", report]);
  expect(err).toMatch(/llama\.cpp is skipped: it reads GGUF files only/);
  expect(err).toMatch(/onnxruntime and sparq find the same token the likeliest at \d+ of \d+ positions/);
  expect(exitCode).toBe(0);
  expect(out).toMatch(/\| 100 \| 2 \| onnxruntime \| dense \|/);
  const record = readRecord(json);
  const labelsOf = (named: string) =>
    record.measurements.filter(({ name }) => name === named).map(({ labels }) => labels);
  expect(record.versions).toMatchObject({ "onnxruntime-node": expect.any(String) });
  expect(labelsOf("decode speed against a peer")).toEqual(
    ["default", "dense"].map((variant) => ({ variant, peer: "onnxruntime", context: 100, batch: 2 })),
  );
  expect(labelsOf("prefill speed against a peer")).toEqual([{ peer: "onnxruntime", context: 100 }]);
  expect(readFileSync(report, "utf8")).toContain(">onnxruntime</text>");
}, 300_000);
