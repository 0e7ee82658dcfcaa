import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ModelError } from "../../../models/errors.ts";
import { pull } from "../../../models/pull/index.ts";
import { locateModel } from "../../../models/registry.ts";
import { cutAfter, FakeHub } from "../../support/fake-hub.ts";

/** Larger than a socket takes at once. */
const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i + (i >> 8)) & 0xff));

let cacheDir: string;
let hub: FakeHub;
beforeEach(async () => {
  cacheDir = mkdtempSync(join(tmpdir(), "sparq-hub-"));
  hub = new FakeHub();
  await hub.start();
  hub.files.set("config.json", Buffer.from('{"model_type":"llama"}'));
  hub.files.set("tokenizer.json", Buffer.from("{}"));
  hub.files.set("generation_config.json", Buffer.from(""));
  hub.files.set("README.md", Buffer.from("# Model"));
  hub.files.set("model.safetensors", weights);
});
afterEach(async () => {
  await hub.stop();
  vi.unstubAllEnvs();
  rmSync(cacheDir, { recursive: true });
});

const models = () => join(cacheDir, "models");
const names = () => (existsSync(models()) ? readdirSync(models()) : []);
const get = (what = "org/model", client = hub.client()) => pull(what, { cacheDir, hub: client });
const fault = async (what?: string, client?: ReturnType<FakeHub["client"]>): Promise<ModelError> => {
  const error = await get(what, client).catch((thrown: unknown) => thrown);
  if (error instanceof ModelError) return error;
  throw error;
};
/** Does something the first `times` times that the weights are asked for. */
function onWeights(times: number, trick: FakeHub["trick"]): void {
  let left = times;
  hub.trick = (request, response, content) => {
    if (!/\/resolve\/.*\.(safetensors|gguf)$/.test(request.path) || left === 0) return false;
    left--;
    return trick(request, response, content);
  };
}

describe("a model on a hub", () => {
  it("comes with what serving needs, and is found by its name without the hub", async () => {
    const seen: [number, number, string][] = [];
    const options = { cacheDir, hub: hub.client(), onProgress: (...p: [number, number, string]) => seen.push(p) };
    const model = await pull("org/model", options);
    expect(model).toEqual({ name: "org/model", path: join(models(), "org%2Fmodel"), present: false });
    expect(readdirSync(model.path).sort()).toEqual([
      ".sparq-pull.json",
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
    expect(readFileSync(join(model.path, "model.safetensors")).equals(weights)).toBe(true);
    const total = weights.length + 22 + 2;
    expect(seen.at(-1)).toEqual([total, total, "downloading model.safetensors (4 of 4)"]);
    expect(seen.every(([done], i) => i === 0 || done >= seen[i - 1]![0])).toBe(true);
    expect(names()).toEqual(["org%2Fmodel"]);
    await hub.stop();
    expect(locateModel("org/model", cacheDir)).toEqual({ name: "org/model", path: model.path, origin: "pulled" });
    expect(await get()).toMatchObject({ present: true, unasked: expect.stringContaining("tried 5 times") });
  });

  it("is asked for with HF_TOKEN at HF_ENDPOINT, and HF_HUB_OFFLINE asks nobody", async () => {
    vi.stubEnv("HF_ENDPOINT", `${hub.endpoint}/`);
    vi.stubEnv("HF_TOKEN", " hf_secret\n");
    await pull("org/model", { cacheDir });
    expect(new Set(hub.seen.map(({ authorization }) => authorization))).toEqual(new Set(["Bearer hf_secret"]));
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    const { length } = hub.seen;
    expect(await pull("org/model", { cacheDir })).toMatchObject({ present: true, unasked: "HF_HUB_OFFLINE is set" });
    await expect(pull("org/other", { cacheDir })).rejects.toThrow("org/other is not in the cache");
    expect(hub.seen).toHaveLength(length);
    vi.stubEnv("HF_HUB_OFFLINE", "");
    vi.stubEnv("HF_ENDPOINT", "ftp://hub");
    await expect(pull("org/model", { cacheDir })).rejects.toThrow('HF_ENDPOINT is "ftp://hub"');
  });

  it("is asked for with the token of a file that HF_TOKEN_PATH names, of which errors tell the name alone", async () => {
    const path = join(cacheDir, "token");
    writeFileSync(path, "hf_secret\n");
    vi.stubEnv("HF_ENDPOINT", hub.endpoint);
    for (const name of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_DISABLE_IMPLICIT_TOKEN"]) vi.stubEnv(name, "");
    vi.stubEnv("HF_TOKEN_PATH", path);
    await pull("org/model", { cacheDir });
    expect(new Set(hub.seen.map(({ authorization }) => authorization))).toEqual(new Set(["Bearer hf_secret"]));
    hub.trick = (_request, response) => {
      response.writeHead(403).end();
      return true;
    };
    const error = await pull("org/other", { cacheDir }).catch((thrown: unknown) => thrown);
    expect((error as Error).message).toContain(`the account of ${path} may not`);
    expect((error as Error).message).not.toContain("hf_secret");
  });

  it("is not fetched twice; what is damaged or changed is", async () => {
    const { path } = await get();
    const first = hub.seen.length;
    expect(await get()).toMatchObject({ present: true });
    expect(hub.seen.slice(first).map((request) => request.path)).toEqual([expect.stringContaining("/api/models/")]);

    const damaged = Buffer.from(weights);
    damaged[1000]! ^= 1;
    writeFileSync(join(path, "model.safetensors"), damaged);
    expect(await get()).toMatchObject({ present: false });
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);

    hub.commit = "b".repeat(40);
    hub.files.set("config.json", Buffer.from('{"model_type":"gpt_neox"}'));
    const before = hub.requestsFor("model.safetensors").length;
    expect(await get()).toMatchObject({ present: false });
    expect(readFileSync(join(path, "config.json"), "utf8")).toContain("gpt_neox");
    expect(hub.requestsFor("model.safetensors")).toHaveLength(before);
    expect(names()).toEqual(["org%2Fmodel"]);
  });

  it("may be one file of several, by its path or its quantisation", async () => {
    hub.files.delete("model.safetensors");
    hub.files.set("m-Q4_K_M.gguf", weights);
    hub.files.set("m-Q8_0.gguf", Buffer.from("8"));
    const several = await fault();
    expect(several.code).toBe("file_missing");
    expect(several.message).toMatch(
      /has 2 GGUF files.*org\/model:m-Q4_K_M\.gguf.*m-Q4_K_M\.gguf \(300\.0 kB\).*\(1 B\)/s,
    );
    expect((await fault("org/model:Q5_0")).message).toMatch(/has no file Q5_0; it has.*m-Q8_0/s);
    const name = "org/model:m-Q4_K_M.gguf";
    const path = join(models(), "org%2Fmodel%3Am-Q4_K_M.gguf", "m-Q4_K_M.gguf");
    expect(await get("org/model:q4_k_m")).toEqual({ name, path, present: false });
    for (const asked of ["org/model", "org/model:Q4_K_M", name]) {
      expect(locateModel(asked, cacheDir)).toEqual({ name: asked, path, origin: "pulled" });
    }
    await get("org/model:m-Q8_0.gguf");
    expect(() => locateModel("org/model", cacheDir)).toThrow(
      /may be any of org\/model:m-Q4_K_M\.gguf, org\/model:m-Q8_0/,
    );
    expect(() => locateModel("org/model:Q5_0", cacheDir)).toThrow("get it with: sparq pull org/model:Q5_0");
  });

  it("may be a revision", async () => {
    const { name } = await get("org/model@refs/pr/1");
    expect(name).toBe("org/model@refs/pr/1");
    expect(hub.seen[0]!.path).toBe("/api/models/org/model/revision/refs/pr/1?blobs=true");
    expect(() => locateModel("org/model", cacheDir)).toThrow("no model");
    expect(locateModel(name, cacheDir).path).toBe(join(models(), "org%2Fmodel%40refs%2Fpr%2F1"));
  });
});

describe("a download", () => {
  it("goes on where the connection was cut, as often as it takes", async () => {
    onWeights(8, (request, response, content) => {
      cutAfter(response, content, request.range, 30_000);
      return true;
    });
    const client = hub.client();
    const { path } = await get("org/model", client);
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
    const ranges = hub.requestsFor("model.safetensors").map(({ range }) => Number(/\d+/.exec(range ?? "0")?.[0]));
    expect(ranges).toHaveLength(9);
    expect(ranges.every((from, i) => i === 0 || from >= ranges[i - 1]!)).toBe(true);
    expect(ranges.at(-1)).toBeGreaterThan(0);
  });

  it("goes on in a later run", async () => {
    const stop = new AbortController();
    onWeights(1, (_request, response, content) => {
      response.writeHead(200, { "content-length": content.length });
      response.write(content.subarray(0, 100_000));
      return true;
    });
    const onProgress = (done: number) => {
      if (done >= 100_000) stop.abort(new Error("stopped by a signal"));
    };
    const options = { cacheDir, hub: hub.client(), signal: stop.signal, onProgress };
    await expect(pull("org/model", options)).rejects.toThrow("stopped by a signal");
    expect(names()).toEqual([".pulling-org%2Fmodel"]);
    expect(() => locateModel("org/model", cacheDir)).toThrow("no model");
    const before = hub.seen.length;
    const { path } = await get();
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
    const contents = hub.seen.slice(before).filter((request) => request.path.includes("/resolve/"));
    expect(contents).toMatchObject([{ range: "bytes=100000-" }]);
    expect(names()).toEqual(["org%2Fmodel"]);
  });

  it("begins anew where ranges are not served", async () => {
    onWeights(2, (request, response, content) => {
      if (request.range === undefined) cutAfter(response, content, undefined, 50_000);
      else response.writeHead(200, { "content-length": content.length }).end(content);
      return true;
    });
    const { path } = await get();
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
  });

  it("that comes damaged is fetched once more, then refused with both sums", async () => {
    const damage: FakeHub["trick"] = (_request, response, content) => {
      response.end(Buffer.alloc(content.length));
      return true;
    };
    onWeights(1, damage);
    const { path } = await get();
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
    rmSync(path, { recursive: true });
    onWeights(2, damage);
    const error = await fault();
    expect(error.code).toBe("file_invalid");
    expect(error.message).toMatch(
      /org\/model:model\.safetensors came twice with 300000 bytes and sha256:\w+; the hub says/,
    );
    expect(() => locateModel("org/model", cacheDir)).toThrow("no model");
  });

  it("of a small file is checked as git does", async () => {
    hub.trick = (request, response) => {
      if (!request.path.endsWith("/tokenizer.json")) return false;
      response.end("[]");
      return true;
    };
    expect((await fault()).message).toMatch(/tokenizer\.json came twice with 2 bytes and git-sha1:/);
  });

  it("that is longer or shorter than the hub said is refused", async () => {
    onWeights(1, (_request, response, content) => {
      response.end(Buffer.concat([content, content]));
      return true;
    });
    expect((await fault()).message).toContain("is longer than the 300000 bytes");
    hub.edit = (answer) => {
      for (const file of answer.siblings) if (file.lfs) Object.assign(file.lfs, { size: 300_001 });
      return answer;
    };
    expect((await fault()).message).toContain("ended after 300000 of 300001 bytes (tried 5 times)");
  });

  it("with another range than was asked for is refused", async () => {
    onWeights(2, (request, response, content) => {
      if (request.range === undefined) cutAfter(response, content, undefined, 50_000);
      else response.writeHead(206, { "content-range": "bytes 7-299999/300000" }).end(content.subarray(7));
      return true;
    });
    expect((await fault()).message).toMatch(/sent bytes 7-299999\/300000 for bytes \d+-/);
  });

  it("from which nothing comes is given up", async () => {
    onWeights(5, (_request, response) => {
      response.writeHead(200, { "content-length": weights.length });
      response.flushHeaders();
      return true;
    });
    const client = { ...hub.client(), stallAfter: 50 };
    expect((await fault("org/model", client)).message).toMatch(/nothing came for 0\.05 s \(tried 5 times\)/);
  });

  it("waits as long as a busy hub says, and longer each time otherwise", async () => {
    let count = 0;
    hub.trick = (_request, response) => {
      count++;
      if (count > 4) return false;
      response.writeHead([429, 503, 500, 502][count - 1]!, count === 1 ? { "retry-after": "7" } : {}).end();
      return true;
    };
    const client = hub.client();
    await get("org/model", client);
    expect(client.waits).toEqual([7000, 1000, 2000, 4000]);
  });

  it("takes the token to no other host", async () => {
    hub.redirects = true;
    const { path } = await get("org/model", hub.client("hf_secret"));
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
    const elsewhere = hub.seen.filter(({ host }) => host === "elsewhere");
    expect(elsewhere).toMatchObject([{ authorization: undefined }]);
    expect(hub.seen.filter(({ host }) => host === "hub").every(({ authorization }) => authorization)).toBe(true);
  });

  it.each([["file:///etc/passwd"], ["ftp://127.0.0.1/x"], ["http://"]])(
    "follows no redirect to %s",
    async (location) => {
      onWeights(1, (_request, response) => {
        response.writeHead(302, { location }).end();
        return true;
      });
      expect((await fault()).message).toContain(`redirects to ${location}`);
    },
  );

  it("follows redirects ten times", async () => {
    onWeights(100, (request, response) => {
      response.writeHead(302, { location: request.path }).end();
      return true;
    });
    expect((await fault()).message).toContain("more than 10 redirects");
  });
});

describe("a hub that says no", () => {
  it.each([
    [401, undefined, "access_denied", /says 401 \(Invalid user\).*private.*set HF_TOKEN to a token/],
    [401, "hf_secret", "access_denied", /the account of HF_TOKEN may not/],
    [403, "hf_secret", "access_denied", /says 403.*terms may have to be accepted/],
    [404, undefined, "download_failed", /says 404.*no such model, revision or file/],
    [418, undefined, "download_failed", /says 418/],
  ])("by %i (token: %s) is quoted, and the token is not", async (status, token, code, message) => {
    hub.trick = (_request, response) => {
      response.writeHead(status, { "x-error-message": "Invalid user" }).end("<html>");
      return true;
    };
    const error = await fault("org/model", hub.client(token));
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(error.message).not.toContain("hf_secret");
    expect(names()).toEqual([]);
  });

  it.each([
    ["../evil.gguf"],
    ["/etc/evil.gguf"],
    ["a/../../evil.gguf"],
    ["a\\..\\evil.gguf"],
    ["C:evil.gguf"],
    ["a//evil.gguf"],
    ["evil\u0000.gguf"],
    [""],
  ])("by a file named %j gets nothing", async (name) => {
    hub.files.set(name, Buffer.from("evil"));
    expect(await fault()).toMatchObject({ code: "file_invalid", message: expect.stringContaining("nothing is taken") });
    expect(names()).toEqual([]);
  });

  it.each<[string, FakeHub["edit"], RegExp]>([
    ["no commit", (answer) => ({ ...answer, sha: undefined }), /lacks what is needed: sha/],
    ["a commit that is a path", (answer) => ({ ...answer, sha: "../../x" }), /lacks what is needed: sha/],
    ["no files", () => ({ sha: "a".repeat(40) }), /siblings/],
    ["no sizes", (a) => ({ ...a, siblings: a.siblings.map(({ size: _, ...file }) => file) }), /siblings\.0\.size/],
    ["no sums", (a) => ({ ...a, siblings: a.siblings.map(({ blobId: _, ...file }) => file) }), /no checksum for org/],
    ["a strange sum", (a) => ({ ...a, siblings: a.siblings.map((f) => ({ ...f, blobId: "../x" })) }), /blobId/],
    ["no JSON object", () => "hello", /lacks what is needed/],
  ])("by an answer with %s is named", async (_what, edit, message) => {
    hub.edit = edit;
    expect((await fault()).message).toMatch(message);
  });

  it("by an answer that is no JSON is quoted", async () => {
    hub.trick = (_request, response) => {
      response.end("<html>log in</html>");
      return true;
    };
    expect((await fault()).message).toContain('is no JSON: "<html>log in</html>"');
  });

  it("because nobody listens is named after five tries", async () => {
    await hub.stop();
    const client = hub.client();
    expect(await fault("org/model", client)).toMatchObject({
      code: "hub_unreachable",
      message: expect.stringMatching(/ECONNREFUSED.*tried 5 times/),
    });
    expect(client.waits).toEqual([500, 1000, 2000, 4000]);
  });
});
