import { expect, it } from "vitest";
import { runCli } from "../../support/cli.ts";

it.each([
  [["--json", "/nowhere/a.json"], "The folder /nowhere does not exist"],
  [["--report", "/nowhere/a.html"], "The folder /nowhere does not exist"],
  [["--baseline", "/nowhere/a.json"], "There is no such file"],
])("%j is refused before anything is measured", async (flags, message) => {
  const { exitCode, out, err } = await runCli(["bench", "throughput", ...flags]);
  expect({ exitCode, out }).toEqual({ exitCode: 2, out: "" });
  expect(err).toContain(message);
});
