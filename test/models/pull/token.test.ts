import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { hubToken } from "../../../models/pull/token.ts";

const folder = mkdtempSync(join(tmpdir(), "sparq-token-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "huggingface", "token");
mkdirSync(join(folder, "huggingface"));
writeFileSync(path, "  hf_file\r\n");

const HUB = "https://huggingface.co";
const inCache = { XDG_CACHE_HOME: folder };
const inHome = { HF_HOME: join(folder, "huggingface") };
const named = { HF_TOKEN_PATH: path };
const none = { token: undefined };

describe("the hub's token", () => {
  it("is that of a variable before that of a file", () => {
    expect(hubToken(HUB, { ...inCache, HF_TOKEN: " hf_a\n", HUGGING_FACE_HUB_TOKEN: "hf_b" })).toEqual({
      token: "hf_a",
      tokenSource: "HF_TOKEN",
    });
    expect(hubToken(HUB, { ...inCache, HF_TOKEN: " ", HUGGING_FACE_HUB_TOKEN: "hf_b" })).toEqual({
      token: "hf_b",
      tokenSource: "HUGGING_FACE_HUB_TOKEN",
    });
    expect(hubToken("https://mirror.example", { ...inCache, HF_TOKEN: "hf_a" })).toMatchObject({ token: "hf_a" });
  });

  it.each([
    ["HF_TOKEN_PATH", { ...named, HF_HOME: "/nowhere" }],
    ["HF_HOME", { ...inHome, XDG_CACHE_HOME: "/nowhere" }],
    ["the cache folder", inCache],
  ])("is in the file of %s", (_, environment) => {
    expect(hubToken(HUB, environment)).toEqual({ token: "hf_file", tokenSource: path });
  });

  it("is none where there is no file, or an empty one, or it is not to be taken", () => {
    const empty = join(folder, "empty");
    writeFileSync(empty, "\n");
    expect(hubToken(HUB, { HF_HOME: join(folder, "nothing") })).toEqual(none);
    expect(hubToken(HUB, { HF_TOKEN_PATH: join(path, "below-a-file") })).toEqual(none);
    expect(hubToken(HUB, { HF_TOKEN_PATH: empty })).toEqual(none);
    for (const value of ["1", "TRUE", "yes", "on"]) {
      expect(hubToken(HUB, { ...inCache, HF_HUB_DISABLE_IMPLICIT_TOKEN: value })).toEqual(none);
    }
    expect(hubToken(HUB, { ...inCache, HF_HUB_DISABLE_IMPLICIT_TOKEN: "0" })).toMatchObject({ token: "hf_file" });
  });

  it("stays with Hugging Face's own hub, unless its file is named", () => {
    for (const other of ["https://mirror.example", "http://huggingface.co", "https://huggingface.co:8443"]) {
      expect(hubToken(other, inCache)).toEqual(none);
      expect(hubToken(other, inHome)).toEqual(none);
      expect(hubToken(other, named)).toMatchObject({ token: "hf_file" });
    }
  });

  it("says which file it could not read", () => {
    expect(() => hubToken(HUB, { HF_TOKEN_PATH: folder })).toThrow(/the hub's token cannot be read: EISDIR/);
  });
});
