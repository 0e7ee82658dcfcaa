import type { Command } from "commander";
import type { CliIo } from "../server/cli/io.ts";
import { addCache } from "./accuracy/cache/command.ts";
import { addCompare } from "./compare/command.ts";
import { addDecode } from "./decode/command.ts";
import { addHealth } from "./health/command.ts";
import { addKernel } from "./kernel/command.ts";
import { addOverhead } from "./overhead/command.ts";
import { addPace } from "./pace/command.ts";
import { addServe } from "./serve/command.ts";
import { addSoak } from "./soak/command.ts";
import { addSpeculation } from "./speculation/command.ts";
import { addSweep } from "./sweep/command.ts";
import { addThroughput } from "./throughput/command.ts";

/** Adds a subcommand to `sparq bench`. Its file defines the options alone and imports what measures when it runs. */
type AddBench = (bench: Command, io: CliIo, exit: (code: number) => void) => void;

/** One entry for each measurement, in the order that --help lists them. */
const subcommands: readonly AddBench[] = [
  addThroughput,
  addKernel,
  addDecode,
  addSweep,
  addPace,
  addServe,
  addOverhead,
  addSpeculation,
  addHealth,
  addCompare,
  addCache,
  addSoak,
];

/** Adds `sparq bench` and all that it can measure. */
export function addBenchCommands(program: Command, io: CliIo, exit: (code: number) => void): void {
  const bench = program.command("bench").description("measure speed; docs/benchmarks.md says what each figure means");
  for (const add of subcommands) add(bench, io, exit);
}
