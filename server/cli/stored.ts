import { formatBytes } from "../../models/pull/choose.ts";
import { listStored, removeStored } from "../../models/pull/stored.ts";
import type { CliIo } from "./io.ts";

/** Prints the models that can be used by name, and what unfinished downloads left. */
export function list(options: { readonly json?: boolean }, io: CliIo): number {
  const stored = listStored();
  if (options.json) {
    io.out(`${JSON.stringify(stored, null, 2)}\n`);
    return 0;
  }
  const rows = stored.map(({ name, source, bytes, pulledAt, path, state }) => {
    const when = pulledAt === null ? "-" : pulledAt.slice(0, 16).replace("T", " ");
    return [state === "unfinished" ? `${name} (unfinished)` : name, formatBytes(bytes), when, source, path];
  });
  const table = [["NAME", "SIZE", "PULLED (UTC)", "SOURCE", "PATH"], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  for (const row of table)
    io.out(
      `${row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("  ")
        .trimEnd()}\n`,
    );
  return 0;
}

/** Removes pulled models; the first that is not there ends it. */
export function remove(names: readonly string[], io: CliIo): number {
  for (const name of names) io.out(`removed ${name}: ${formatBytes(removeStored(name))} are free again\n`);
  return 0;
}
