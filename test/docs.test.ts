import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { Command, Option } from "commander";
import { describe, expect, it } from "vitest";
import { createProgram } from "../server/cli/main.ts";
import { parseGenerateOptions, parseServerOptions } from "../server/config.ts";
import { ServerMetrics } from "../server/metrics/server-metrics.ts";
import { FakeEngine } from "./support/fake-engine.ts";
import { servingOf } from "./support/serving.ts";

const root = new URL("../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");

const io = { out: () => {}, err: () => {}, interactive: false, stop: new AbortController().signal, abandon: () => {} };
const commands = createProgram(io, () => {}).commands;
const commandOf = (name: string) => commands.find((command) => command.name() === name)!;

/** A description, and the default at its end. */
function partsOf({ description }: Option): { text: string; standard: string } {
  const parts = /^(.*) \(default: (.*)\)$/.exec(description);
  return parts === null ? { text: description, standard: "" } : { text: parts[1]!, standard: parts[2]! };
}

function table(command: Command): string {
  const cell = (text: string) => text.replaceAll("|", "\\|");
  const rows = command.options.map((option) => {
    const { text, standard } = partsOf(option);
    const variable = option.envVar === undefined ? "" : `\`${option.envVar}\``;
    return `| \`${cell(option.flags)}\` | ${variable} | ${cell(standard)} | ${cell(text)} |`;
  });
  return ["| flag | variable | default | meaning |", "|---|---|---|---|", ...rows].join("\n");
}

describe("docs/options.md", () => {
  it("has every flag and variable (npx vitest run --project unit test/docs.test.ts -u writes it)", async () => {
    const text = `# Options

Written by a test from the command line's own definitions; what they mean together stands in [configuration.md](configuration.md).

## sparq serve

${table(commandOf("serve"))}

## sparq generate

${table(commandOf("generate"))}
`;
    await expect(text).toMatchFileSnapshot("../docs/options.md");
  });

  it.each([
    ["serve", parseServerOptions({})],
    ["generate", parseGenerateOptions({ prompt: "a" })],
  ] as const)("has the defaults that %s has", (name, values: Readonly<Record<string, unknown>>) => {
    const checked = commandOf(name).options.flatMap((option) => {
      const { standard } = partsOf(option);
      const value = values[option.attributeName()];
      // Of others the default depends on the model or the machine, and the schema knows none.
      if (value === undefined || typeof value === "boolean" || Array.isArray(value)) return [];
      if (option.mandatory) return [];
      return [[option.long, standard.replace(/[,;].*/, ""), String(value)]];
    });
    expect(checked.length).toBeGreaterThan(2);
    for (const [flag, written, real] of checked) expect([flag, written]).toEqual([flag, real]);
  });
});

/** All files below a folder with one of these endings. */
function filesIn(folder: string, endings: RegExp): string[] {
  return readdirSync(new URL(folder, root), { recursive: true, encoding: "utf8" })
    .filter((name) => endings.test(name) && !name.includes("build/"))
    .map((name) => `${folder}/${name}`);
}

describe("docs/configuration.md", () => {
  it("has every variable that the sources read", () => {
    const sources = ["server", "attention", "kvcache", "models", "bin"].flatMap((folder) =>
      filesIn(folder, /\.(ts|mjs|cc)$/),
    );
    const readers = /(?:process\.env\.|getenv\("|fromEnvironment\("|process\.env\[")(SPARQ_[A-Z_]+)/g;
    const variables = sources.flatMap((path) => [...read(path).matchAll(readers)].map(([, name]) => name!));
    expect(variables).toContain("SPARQ_ISA");
    const text = read("docs/configuration.md");
    expect([...new Set(variables)].filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });
});

describe("docs/deployment.md", () => {
  it("lists the metrics, each one and no others", () => {
    const metrics = new ServerMetrics(() => "ready");
    metrics.attach(servingOf(new FakeEngine(() => [])));
    const exposed = metrics.registry.getMetricsAsArray().map(({ name }) => name);
    const listed = [...read("docs/deployment.md").matchAll(/^\| `((?:vllm|sparq):\w+)/gm)].map(([, name]) => name!);
    expect(listed.toSorted()).toEqual(exposed.filter((name) => /^(vllm|sparq):/.test(name)).toSorted());
  });
});

describe("the documents", () => {
  it("link to files that there are", () => {
    const documents = ["README.md", ...readdirSync(new URL("docs", root)).map((name) => `docs/${name}`)];
    const dead = documents
      .filter((path) => path.endsWith(".md"))
      .flatMap((path) => {
        const links = [...read(path).matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(([, link]) => link!);
        return links
          .filter((link) => !existsSync(new URL(link, new URL(path, root))))
          .map((link) => `${path}: ${link}`);
      });
    expect(dead).toEqual([]);
  });
});
