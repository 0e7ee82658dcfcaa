import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { runCli } from "../support/cli.ts";

afterEach(() => {
  vi.unstubAllEnvs();
});

describe("help", () => {
  it.each([
    [["--help"], /Usage: sparq .*serve.*generate.*inspect.*pull/s],
    [["serve", "--help"], /--port <n>.*default:\s+8000.*env:\s+SPARQ_PORT/s],
    [["generate", "--help"], /--prompt <text>.*--max-tokens <n>.*--json/s],
    [["inspect", "--help"], /<model>|--json/],
    [["pull", "--help"], /--from <path>.*--name <name>/s],
    [["list", "--help"], /--json/],
    [["rm", "--help"], /<names\.\.\.>/],
    [["help", "serve"], /--kv-cache-mb/],
    [["--version"], /^\d+\.\d+\.\d+\n$/],
  ])("%j", async (args, text) => {
    const { exitCode, out, err } = await runCli(args);
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: "" });
    expect(out).toMatch(text);
  });
});

describe("what makes no sense", () => {
  it.each<[string[], RegExp]>([
    [[], /Usage: sparq/],
    [["server"], /unknown command 'server'.*Did you mean serve/s],
    [["--verbose"], /unknown option '--verbose'/],
    [["serve", "--prot", "1"], /unknown option '--prot'.*Did you mean --port/s],
    [["serve", "a", "b"], /too many arguments/],
    [["serve", "--port"], /argument missing/],
    [["serve", "--port", "http"], /--port \(or SPARQ_PORT\) must be a whole number from 0 to 65535, not 'http'/],
    [["serve", "--port", "70000"], /0 to 65535, not '70000'/],
    [["serve", "--threads", "0"], /--threads/],
    [["serve", "--kv-cache-mb", "1.5"], /--kv-cache-mb/],
    [["serve", "--attention", "full"], /--attention .*sparq, dense or onnx, not 'full'/],
    [["serve", "--top-k-buckets", "3"], /--top-k-buckets \(or SPARQ_TOP_K_BUCKETS\) must be 0, 1, 2 or 4, not '3'/],
    [["serve", "--speculation", "on"], /--speculation \(or SPARQ_SPECULATION\) must be auto or off, not 'on'/],
    [["serve", "--draft-tokens", "0"], /--draft-tokens .*from 1 to 64, not '0'/],
    [["serve", "--log-level", "loud"], /--log-level/],
    [["generate"], /required option '--prompt <text>'/],
    [["generate", "--prompt", "a", "--temperature", "-1"], /--temperature .*at least 0, not '-1'/],
    [["generate", "--prompt", "a", "--max-tokens", "many"], /--max-tokens/],
    [["generate", "--prompt", "a", "--dense", "--r", "4"], /--dense does not go with --r/],
    [["generate", "--prompt", "a", "--dense", "--top-k-buckets", "2"], /--dense does not go with --top-k-buckets/],
    [["generate", "--prompt", "a", "--dense", "--attention", "sparq"], /--dense does not go with --attention sparq/],
    [
      ["serve", "--attention", "onnx", "--kv-dtype", "f16"],
      /--kv-dtype .*cannot be set with --attention=onnx, which runs/,
    ],
    [["serve", "--attention", "onnx", "--r", "8"], /--r \(or SPARQ_R\) cannot be set with --attention=onnx/],
    [["serve", "--attention", "onnx", "--quantize", "int4"], /--quantize .*--attention=onnx/],
    [["serve", "--attention", "onnx", "--speculation", "auto"], /--speculation .*--attention=onnx/],
    [["generate", "--prompt", "a", "--attention", "onnx", "--preset", "speed"], /--preset .*--attention=onnx/],
    [["inspect", "tiny-llama", "--attention", "full"], /'full' is invalid.*sparq, onnx/],
    [["inspect"], /missing required argument 'model'/],
    [["pull"], /missing required argument 'model'/],
    [["rm"], /missing required argument 'names'/],
  ])("%j ends with code 2", async (args, message) => {
    const { exitCode, out, err } = await runCli(args);
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: "" });
    expect(err).toMatch(message);
  });

  it("in a variable is named after it", async () => {
    vi.stubEnv("SPARQ_PORT", "first");
    const { exitCode, err } = await runCli(["serve"]);
    expect(exitCode).toBe(2);
    expect(err).toMatch(/SPARQ_PORT.*not 'first'/);
  });
});

describe("what fails", () => {
  it.each([
    [["serve", "--port", "0", "--log-level", "silent", "no-such-model"]],
    [["generate", "--prompt", "a", "--model", "no-such-model"]],
    [["inspect", "no-such-model"]],
    [["inspect", "no-such-model", "--attention", "onnx"]],
  ])("%j ends with code 1 and the reason", async (args) => {
    const { exitCode, out, err } = await runCli(args);
    expect({ exitCode, out }).toEqual({ exitCode: 1, out: "" });
    expect(err).toMatch(/^error: no model "no-such-model"/);
  });

  it("names the models that can be pulled, and a file that is not there", async () => {
    const unknown = await runCli(["pull", "no-such-model"]);
    expect(unknown).toMatchObject({ exitCode: 1, out: "" });
    expect(unknown.err).toMatch(/^error: no model "no-such-model" can be pulled; there is smollm2-135m-instruct/);
    vi.stubEnv("SPARQ_CACHE", mkdtempSync(join(tmpdir(), "sparq-cli-")));
    const missing = await runCli(["pull", "smollm2-135m-instruct", "--from", "/no/such.gguf"]);
    expect(missing).toMatchObject({ exitCode: 1, out: "" });
    expect(missing.err).toMatch(/such\.gguf does not exist/);
  });
});
