import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { LlamaCppSystem } from "../../bench/compare/llama-cpp.ts";
import { locateLlamaCpp } from "../../bench/compare/llama-cpp-files.ts";
import { tokenIds } from "../../bench/compare/tokens.ts";
import { readRecord } from "../../bench/record/record.ts";
import { runCli } from "../support/cli.ts";
import { locateSmolLm2 } from "../support/smollm2.ts";

const model = locateSmolLm2();
const peer = locateLlamaCpp();
const missing = "missing" in model ? model.missing : "missing" in peer ? peer.missing : undefined;

describe("bench compare with llama.cpp on SmolLM2", () => {
  const folder = mkdtempSync(join(tmpdir(), "sparq-compare-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  beforeAll(() => {
    // The default reporter hides the reasons of skips in a file without failures.
    if (missing) console.warn(`skipped: ${missing}`);
  });
  beforeEach((context) => {
    if (missing) context.skip(missing);
  });

  it("measures both sides, which agree on the likeliest token", async () => {
    const json = join(folder, "compare.json");
    const sizes = ["--context", "128", "--batch", "1", "--rounds", "2", "--prefill", "1"];
    const named = ["--model", "path" in model ? model.path : "", "--peers", "llama.cpp"];
    const { exitCode, out, err } = await runCli(["bench", "compare", ...named, ...sizes, "--json", json]);
    expect({ exitCode, err }).toEqual({
      exitCode: 0,
      err: expect.stringMatching(/llama\.cpp and sparq find the same .* at \d+ of \d+ positions/),
    });
    expect(out).toMatch(/\| 128 \| 1 \| llama\.cpp \| dense \|/);

    const { skipped, versions, settings, measurements } = readRecord(json);
    expect(skipped).toEqual([]);
    expect(versions).toMatchObject({ "node-llama-cpp": "3.21.1", "llama.cpp": "0.4.0-dev" });
    const { same, positions } = (settings.agreement as Record<string, Record<string, number>>)["llama.cpp"]!;
    expect(same! / positions!).toBeGreaterThan(0.9);
    const of = (name: string) => measurements.filter((one) => one.name === name);
    expect(of("decode step").map(({ labels }) => [labels.system, labels.variant])).toEqual([
      ["sparq", "default"],
      ["sparq", "dense"],
      ["llama.cpp", "dense"],
    ]);
    expect(of("decode speed against a peer").map(({ labels }) => labels)).toEqual(
      ["default", "dense"].map((variant) => ({ variant, peer: "llama.cpp", context: 128, batch: 1 })),
    );
    expect(of("prefill speed").map(({ labels }) => labels.system)).toEqual(["sparq", "llama.cpp"]);
    expect(of("prefill speed against a peer")).toHaveLength(1);
  });

  it("keeps a cache for each sequence and takes decoded positions back", async () => {
    const { libraries } = peer as { libraries: string };
    const system = await LlamaCppSystem.load({ libraries, model: "path" in model ? model.path : "", threads: 1 });
    try {
      await system.open(32 + 8, 3);
      expect(await system.fill(tokenIds(32, system.vocabSize, 1))).toBeGreaterThan(0);
      // Were positions not taken back, the second round would begin at one that is there already, which llama.cpp refuses.
      for (const batch of [3, 1, 3]) {
        const tokens = tokenIds(8 * batch, system.vocabSize, batch);
        expect(await system.decode({ variant: "dense", context: 32, batch, tokens })).toHaveLength(8);
      }
      await expect(system.check([system.vocabSize])).rejects.toThrow(/token 49152 is not in the vocabulary/);
      await expect(system.cpuSeconds()).rejects.toThrow(/process ended/);
    } finally {
      system.close();
    }
  });

  it("takes a filled cache that it kept, and none that is damaged", async () => {
    const { libraries } = peer as { libraries: string };
    const kept = join(folder, "kept caches");
    const options = { libraries, model: "path" in model ? model.path : "", threads: 1, kept };
    const system = await LlamaCppSystem.load(options);
    const round = { variant: "dense", context: 300, batch: 2, tokens: [1, 2, 3, 4] };
    try {
      await system.open(310, 2);
      const tokens = tokenIds(300, system.vocabSize, 1);
      await system.refill(tokens);
      const [file, ...others] = readdirSync(kept).map((name) => join(kept, name));
      expect(others).toEqual([]);
      const written = statSync(file!).mtimeMs;
      expect(await system.decode(round)).toHaveLength(2);
      await system.refill(tokens);
      // llama.cpp refuses to decode at a position that does not follow the last one it holds.
      expect(await system.decode(round)).toHaveLength(2);
      expect(statSync(file!).mtimeMs).toBe(written);

      writeFileSync(file!, "damaged");
      await system.refill(tokens);
      expect(await system.decode(round)).toHaveLength(2);
      expect(statSync(file!).size).toBeGreaterThan(300 * 23_040);
    } finally {
      system.close();
    }
  });

  it("says what is wrong with a file that llama.cpp cannot load", async () => {
    const { libraries } = peer as { libraries: string };
    const file = join(folder, "no-such.gguf");
    await expect(LlamaCppSystem.load({ libraries, model: file, threads: 1 })).rejects.toThrow(/cannot load .*no-such/);
  });
});
