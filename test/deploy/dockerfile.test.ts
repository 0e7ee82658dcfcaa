import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseServerOptions } from "../../server/config.ts";

const root = new URL("../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");
const dockerfile = read("deploy/Dockerfile").replace(/\\\n/g, " ");
const instructions = dockerfile.split("\n").filter((line) => /^[A-Z]+ /.test(line));
const all = (name: string) =>
  instructions.filter((line) => line.startsWith(`${name} `)).map((line) => line.slice(name.length + 1));

describe("the Dockerfile", () => {
  it("copies what a built checkout has", () => {
    const copied = all("COPY").filter((copy) => copy.startsWith("--from=build"));
    const sources = copied.flatMap((copy) => copy.split(" ").slice(1, -1));
    expect(sources.length).toBeGreaterThan(5);
    for (const source of sources) {
      // dist and the addon are there when `npm test` has built them, as everything that the tests run.
      expect(existsSync(new URL(source.replace(/^\/sparq\//, ""), root)), source).toBe(true);
    }
  });

  it("builds on the Node that the package asks for", () => {
    const floor = /(\d+)/.exec(JSON.parse(read("package.json")).engines.node)![1];
    for (const from of all("FROM")) expect(from).toMatch(new RegExp(`^node:${floor}-bookworm-slim`));
  });

  it("runs as nobody special, with signals passed on, on the port that it says", () => {
    expect(all("USER")).toEqual(["1000:1000"]);
    expect(JSON.parse(all("ENTRYPOINT")[0]!).slice(0, 2)).toEqual(["/usr/bin/tini", "--"]);
    const variables = Object.fromEntries([...all("ENV")[0]!.matchAll(/SPARQ_(\w+)=(\S+)/g)].map(([, k, v]) => [k, v]));
    expect(all("EXPOSE")).toEqual([variables.PORT]);
    expect(parseServerOptions({ port: variables.PORT, host: variables.HOST }).port).toBe(parseServerOptions({}).port);
    expect(all("VOLUME")).toEqual([variables.CACHE]);
    expect(all("HEALTHCHECK")[0]).toMatch(/\/health/);
  });

  it("ignores nothing that the build needs", () => {
    const ignored = new Set(read("deploy/Dockerfile.dockerignore").split("\n"));
    for (const needed of ["server", "attention", "kvcache", "models", "bench", "scripts", "bin", "package-lock.json"]) {
      expect(existsSync(new URL(needed, root)), needed).toBe(true);
      expect(ignored.has(needed), needed).toBe(false);
    }
  });
});
