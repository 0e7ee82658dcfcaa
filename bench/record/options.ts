import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";

/** What every benchmark that leaves a record takes. */
export interface RecordOptions {
  readonly json?: string;
  readonly report?: string;
  readonly baseline?: string;
}

export function addRecordOptions(command: Command): Command {
  const add = (flags: string, description: string, parse: (path: string) => string) =>
    command.addOption(new Option(flags, description).argParser(parse));
  add("--json <file>", "write the results there too", inFolder);
  add(
    "--report <file.html>",
    "write a page with pictures, and beside it each picture as SVG and the results as JSON",
    inFolder,
  );
  add(
    "--baseline <file>",
    "compare with an earlier --json; exit code 1 if a figure is worse by more than the noise",
    existing,
  );
  return command;
}

/** Said before anything is measured, not after. */
function inFolder(path: string): string {
  const folder = dirname(resolve(path));
  if (existsSync(folder)) return path;
  throw new InvalidArgumentError(`The folder ${folder} does not exist.`);
}

function existing(path: string): string {
  if (existsSync(path)) return path;
  throw new InvalidArgumentError("There is no such file.");
}
