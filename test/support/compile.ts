import { spawnSync } from "node:child_process";

/**
 * Threads run compiled code, and browsers are sent it: brings dist/ up to date before any test, for runs that did not
 * begin with `npm test`. Type errors are printed but do not stop the run: what can be compiled is.
 */
export default function compile(): void {
  for (const project of ["tsconfig.build.json", "server/page/app/tsconfig.json"]) {
    const { error } = spawnSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", project], {
      stdio: "inherit",
    });
    if (error) throw error;
  }
}
