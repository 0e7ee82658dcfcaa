import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { packageRoot } from "../../attention/root.ts";
import { version } from "../../server/version.ts";
import { describeMachine, type Machine } from "../machine.ts";
import { keyOf, type Measurement } from "./measurement.ts";

/** What a run of a benchmark leaves: its figures, and all that is needed to run it again and to judge it. */
export interface BenchRecord {
  readonly version: 1;
  /** The subcommand: "throughput". */
  readonly bench: string;
  readonly command: string;
  /** The day, as 2026-01-31. */
  readonly date: string;
  /** Of the checkout, with "+" behind it if files differ from it; null outside of one. */
  readonly commit: string | null;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly model: string;
  /** What was the same for all figures. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly seconds: number;
  readonly measurements: readonly Measurement[];
  /** What was left out, and why. */
  readonly skipped: readonly { readonly what: string; readonly reason: string }[];
}

/** A record that cannot be read or compared; the message names the file and what is wrong. */
export class RecordError extends Error {
  override readonly name = "RecordError";
}

/** A record of what was measured since `started` (of performance.now()). Throws RangeError for two figures of one name. */
export function recordOf(
  what: Pick<BenchRecord, "bench" | "command" | "model" | "settings" | "measurements"> & {
    readonly threads: number;
    readonly started: number;
    readonly versions?: Readonly<Record<string, string>>;
    readonly skipped?: BenchRecord["skipped"];
  },
): BenchRecord {
  const { threads, started, versions, skipped = [], measurements, ...rest } = what;
  const keys = measurements.map(keyOf);
  const twice = keys.find((key, i) => keys.indexOf(key) < i);
  if (twice !== undefined) throw new RangeError(`two measurements are ${twice}`);
  return {
    version: 1,
    ...rest,
    date: new Date().toISOString().slice(0, 10),
    commit: commitOf(packageRoot()),
    machine: describeMachine(threads),
    versions: { node: process.versions.node, sparq: version, ...versions },
    seconds: Math.round((performance.now() - started) / 100) / 10,
    measurements,
    skipped,
  };
}

/** Throws RecordError, naming the file, for what is no record. */
export function readRecord(path: string): BenchRecord {
  let record: BenchRecord;
  try {
    record = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new RecordError(`${path} cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  if (record?.version !== 1 || !Array.isArray(record.measurements) || typeof record.bench !== "string") {
    throw new RecordError(`${path} is no record of a benchmark: it needs version 1, bench and measurements`);
  }
  return record;
}

function commitOf(root: string): string | null {
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", root, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return `${git("rev-parse", "--short=12", "HEAD")}${changed ? "+" : ""}`;
  } catch {
    return null; // no git, or no checkout
  }
}
