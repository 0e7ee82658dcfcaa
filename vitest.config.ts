import { defineConfig } from "vitest/config";

/** `npm test` runs the "unit" project; "real" needs a downloaded model, "page" Chromium: they run in CI. */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/real/**", "test/browser/**"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "page",
          include: ["test/browser/**/*.test.ts"],
          testTimeout: 300_000,
          expect: { poll: { timeout: 60_000 } },
        },
      },
      {
        // A model may have to be converted first.
        test: { name: "real", include: ["test/real/**/*.test.ts"], testTimeout: 600_000, hookTimeout: 600_000 },
      },
    ],
    globalSetup: ["test/support/compile.ts"],
    // The addon holds threads and files of its own; a process per file keeps test files apart.
    pool: "forks",
    maxWorkers: 2,
  },
});
