import { cpus, totalmem } from "node:os";

/** What figures depend on, for the head of a results file. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly platform: string;
  /** Threads that each side of a measurement computed with. */
  readonly threads: number;
}

export function describeMachine(threads: number): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? "unknown",
    cores: processors.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    threads,
  };
}
