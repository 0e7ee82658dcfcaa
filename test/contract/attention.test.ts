import { describe, expect, test } from "vitest";
import { loadAddon } from "../../attention/binding.ts";
import { describeAttention } from "./attention.case.ts";
import { referenceImplementation } from "./attention-fixture.ts";

describe("the reference", () => describeAttention(referenceImplementation));

const addon = loadAddon();

describe.each(addon.availablePaths())("the %s kernels", (path) => {
  describeAttention({
    name: path,
    threads: [1, 2, 4],
    createStore: (shape) => addon.createKvStore(shape),
    attend: (store, threads, input) => addon.attend(store, path, threads, input),
  });
});

test("the scalar kernels are always there, and the default path is one that runs", () => {
  expect(addon.availablePaths()).toContain("scalar");
  expect(addon.availablePaths()).toContain(addon.defaultPath());
});
