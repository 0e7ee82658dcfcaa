import { spawnSync } from "node:child_process";

/**
 * Threads run compiled code, and browsers are sent it: brings dist/ up to date before any test, for runs that did not
 * begin with `npm test`.
 */
export default function compile(): void {
  for (const project of ["tsconfig.build.json", "page/tsconfig.json"]) {
    const { status } = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", project], {
      stdio: "inherit",
    });
    if (status !== 0) throw new Error(`the sources of ${project} do not compile`);
  }
}
