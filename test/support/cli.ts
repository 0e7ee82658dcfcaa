import { main } from "../../server/cli/main.ts";

export interface CliRun {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `sparq ...args` in this process and catches what it writes; `onOut` sees it as it comes. */
export async function runCli(
  args: readonly string[],
  stop: AbortSignal = new AbortController().signal,
  onOut: (text: string) => void = () => {},
): Promise<CliRun> {
  const written = { out: "", err: "" };
  const exitCode = await main(["node", "sparq", ...args], {
    out: (text) => {
      written.out += text;
      onOut(text);
    },
    err: (text) => {
      written.err += text;
    },
    interactive: false,
    stop,
    abandon: () => {},
  });
  return { exitCode, ...written };
}
