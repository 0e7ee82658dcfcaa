import { type Command, Option } from "commander";

/** What every benchmark that leaves a record takes. */
export interface RecordOptions {
  readonly json?: string;
  readonly report?: string;
  readonly baseline?: string;
}

export function addRecordOptions(command: Command): Command {
  return command
    .addOption(new Option("--json <file>", "write the results there too"))
    .addOption(new Option("--report <file.html>", "write a page with pictures, and each picture as SVG beside it"))
    .addOption(
      new Option(
        "--baseline <file>",
        "compare with an earlier --json; exit code 1 if a figure is worse by more than the noise",
      ),
    );
}
