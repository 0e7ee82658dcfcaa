import { describe, expect, it } from "vitest";
import { chooseFiles, formatBytes } from "../../../models/pull/choose.ts";
import { parseReference, referenceName } from "../../../models/pull/reference.ts";

const config = ["config.json", "tokenizer.json"];
const choose = (paths: string[], wish?: string) => {
  const { files, main } = chooseFiles(
    paths.map((path) => ({ path, bytes: 1500 })),
    "org/model",
    wish,
  );
  return { files: files.map(({ path }) => path).sort(), main };
};

describe("the files of a model", () => {
  it.each<[string, string[], string[], string | null]>([
    [
      "safetensors before other formats, with what lies beside them",
      [
        "model.safetensors",
        "onnx/model.onnx",
        "m.gguf",
        "pytorch_model.bin",
        "README.md",
        "LICENSE",
        "img/a.png",
      ].concat(["tokenizer_config.json", "chat_template.jinja", "generation_config.json", "vocab.json"]),
      ["LICENSE", "chat_template.jinja", "generation_config.json", "model.safetensors", "tokenizer_config.json"],
      null,
    ],
    [
      "all shards and their index",
      ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
      ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
      null,
    ],
    [
      "one whole file rather than shards",
      ["model.safetensors", "model-00001-of-00002.safetensors"],
      ["model.safetensors"],
      null,
    ],
    [
      "a graph with its external data, not other graphs",
      ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model.onnx_data_1", "onnx/model_q4.onnx"],
      ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model.onnx_data_1"],
      null,
    ],
    [
      "the graph of onnxruntime-genai, whatever it is called, before other formats",
      ["genai_config.json", "phi3-int4.onnx", "phi3-int4.onnx.data", "model.safetensors"],
      ["genai_config.json", "phi3-int4.onnx", "phi3-int4.onnx.data"],
      null,
    ],
    [
      "the only export, whatever it is called, with its data",
      ["onnx/model_q4.onnx", "onnx/model_q4.onnx_data", "other/model.onnx"],
      ["onnx/model_q4.onnx", "onnx/model_q4.onnx_data"],
      "onnx/model_q4.onnx",
    ],
    ["the only GGUF, whatever it is called", ["any.gguf", "mmproj-f16.gguf"], ["any.gguf"], "any.gguf"],
  ])("are %s", (_what, offered, expected, main) => {
    expect(choose([...config, ...offered])).toEqual({ files: [...config, ...expected].sort(), main });
  });

  it.each<[string, string, string[]]>([
    ["onnx/model_q4.onnx", "onnx/model_q4.onnx", ["config.json", "onnx/model_q4.onnx", "tokenizer.json"]],
    [
      "cpu/int4/model.onnx",
      "cpu/int4/model.onnx",
      ["cpu/int4/config.json", "cpu/int4/model.onnx", "cpu/int4/model.onnx.data", "cpu/int4/tokenizer.json"],
    ],
    ["other.safetensors", "other.safetensors", ["config.json", "other.safetensors", "tokenizer.json"]],
    ["Q4_K_M", "q/m-Q4_K_M.gguf", ["q/m-Q4_K_M.gguf"]],
    ["q4_k", "q/m-Q4_K.gguf", ["q/m-Q4_K.gguf"]],
  ])("may be named: %s", (wish, main, files) => {
    const offered = ["other.safetensors", "onnx/model.onnx", "onnx/model_q4.onnx", "q/m-Q4_K_M.gguf", "q/m-Q4_K.gguf"];
    const deep = ["model.onnx", "model.onnx.data", ...config].map((name) => `cpu/int4/${name}`);
    expect(choose([...config, ...offered, ...deep], wish)).toEqual({ files, main });
  });

  it.each(["Q4_K_M", "q/m-Q4_K_M-00001-of-00002.gguf"])("takes all parts of a GGUF: %s", (wish) => {
    const parts = ["q/m-Q4_K_M-00001-of-00002.gguf", "q/m-Q4_K_M-00002-of-00002.gguf"];
    const offered = [...parts, "q/m-Q8_0.gguf"];
    expect(choose(offered, wish)).toEqual({ files: parts, main: parts[0] });
    expect(choose(parts)).toEqual({ files: parts, main: parts[0] });
  });

  it.each<[string, string[], string | undefined, RegExp]>([
    [
      "several exports",
      ["onnx/model_q4.onnx", "onnx/model_int8.onnx", "a.gguf"],
      undefined,
      /has 3 models: name one, as in org\/model:onnx\/model_q4\.onnx; there are.*int8.*a\.gguf/s,
    ],
    ["nothing", [], undefined, /^org\/model has no model that can be served: looked for.*file$/],
    ["pickles", ["pytorch_model.bin"], undefined, /it has:\n {2}pytorch_model\.bin \(1\.5 kB\)/],
    ["no tokenizer", ["config.json", "model.safetensors"], undefined, /no tokenizer\.json beside model\.safetensors/],
    ["an adapter", ["adapter_model.safetensors"], undefined, /no model that can be served.*adapter_model/s],
    ["a graph alone", ["model.onnx"], undefined, /no config\.json and no tokenizer\.json/],
    ["one of two shards", ["model-00001-of-00002.safetensors", ...config], undefined, /1 of 2 shards and no .*index/],
    [
      "two of three parts",
      ["m-00001-of-00003.gguf", "m-00003-of-00003.gguf"],
      undefined,
      /m-00001-of-00003.gguf is one of 3 parts, of which 1 are missing: m-00002-of-00003.gguf/,
    ],
    ["a file that is no model", ["README.md"], "README.md", /README\.md is no \.gguf, \.onnx or \.safetensors file/],
    [
      "two files for a tag",
      ["a-Q8_0.gguf", "b-Q8_0.gguf"],
      "q8_0",
      /has 2 GGUF files for "q8_0": name one.*a-Q8.*b-Q8/s,
    ],
    ["a tag's end", ["a-IQ8_0.gguf"], "Q8_0", /has no file Q8_0/],
  ])("that are %s are refused", (_what, offered, wish, message) => {
    expect(() => choose(offered, wish)).toThrow(message);
  });

  it("are listed to forty", () => {
    const many = Array.from({ length: 50 }, (_, i) => `m${i}.gguf`);
    expect(() => choose(many)).toThrow(/has 50 GGUF files.*m39\.gguf \(1\.5 kB\)\n {2}and 10 more$/s);
  });
});

it.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [98_362_432, "98.4 MB"],
  [7_000_000_000, "7.0 GB"],
  [2e15, "2000.0 TB"],
])("%i bytes are %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

describe("a reference", () => {
  it.each([
    ["org/name", "org/name", undefined, undefined],
    ["HuggingFaceTB/SmolLM2-135M-Instruct@v1.0", "HuggingFaceTB/SmolLM2-135M-Instruct", "v1.0", undefined],
    ["a/b@refs/pr/3:dir/file name.gguf", "a/b", "refs/pr/3", "dir/file name.gguf"],
    ["a_b/c.d:Q4_K_M", "a_b/c.d", undefined, "Q4_K_M"],
  ])("%s has its parts", (text, repo, revision, file) => {
    const reference = parseReference(text);
    expect(reference).toEqual({ repo, revision, file });
    expect(referenceName(reference!)).toBe(text);
  });

  it.each([
    "name",
    "",
    "/",
    "a/b/c",
    "../b",
    "a/..",
    "a/.b",
    "a/b.",
    "a/b--c",
    "a/b..c",
    "a b/c",
    "a/b@",
    "a/b:",
    "a/b@x y",
    "~/x",
    "a/b\n",
  ])("%j is none", (text) => {
    expect(parseReference(text)).toBeNull();
  });
});

describe("a folder for onnxruntime-genai", () => {
  const genai = ["genai_config.json", "tokenizer.json", "model.onnx", "model.onnx.data"];

  it("needs no config.json", () => {
    expect(choose(genai)).toEqual({ files: [...genai].sort(), main: null });
    const inside = genai.map((name) => `cpu/${name}`);
    expect(choose(inside, "cpu/model.onnx")).toEqual({ files: inside.sort(), main: "cpu/model.onnx" });
  });

  it("needs a tokenizer, and one graph or a name", () => {
    expect(() => choose(genai.filter((name) => name !== "tokenizer.json"))).toThrow(
      "no tokenizer.json beside model.onnx",
    );
    expect(() => choose([...genai, "other.onnx"])).toThrow(/2 \.onnx files beside genai_config\.json.*name one/);
    expect(() => choose(["genai_config.json", "tokenizer.json"])).toThrow("0 .onnx files beside genai_config.json");
    expect(choose([...genai, "other.onnx"], "model.onnx").main).toBe("model.onnx");
  });
});
