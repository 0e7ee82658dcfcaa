import { spawnSync } from "node:child_process";

/** Threads run compiled code: brings dist/ up to date before any test, for runs that did not begin with `npm test`. */
export default function compile(): void {
  const { status } = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"], {
    stdio: "inherit",
  });
  if (status !== 0) throw new Error("the sources do not compile");
}
