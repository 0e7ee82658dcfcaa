import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { addonPath, loadAddon, runtimeLibraryPath } from "../../attention/binding.ts";
import { packageRoot } from "../../attention/root.ts";

describe("the binding", () => {
  it("finds the package's own folder", () => {
    expect(JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")).name).toBe("sparq");
    expect(existsSync(join(packageRoot(), "attention/native/attention.h"))).toBe(true);
  });

  it("loads one addon with a scalar path and a default among its paths", () => {
    const addon = loadAddon();
    expect(loadAddon()).toBe(addon);
    expect(existsSync(addonPath())).toBe(true);
    expect(addon.availablePaths()).toContain("scalar");
    expect(addon.availablePaths()).toContain(addon.defaultPath());
  });

  it("measures how fast memory is read", () => {
    const { readBandwidth } = loadAddon();
    const bandwidth = readBandwidth(2 ** 20, 2);
    expect(bandwidth).toBeGreaterThan(1e6);
    expect(bandwidth).toBeLessThan(1e15);
    expect(() => readBandwidth(64, 2)).toThrow("readBandwidth needs 64 bytes for each thread");
    expect(() => readBandwidth(2 ** 31, 1)).toThrow("bytes is 2147483648");
  });

  it("finds the library of this platform and says when there is none", () => {
    expect(existsSync(runtimeLibraryPath())).toBe(true);
    expect(runtimeLibraryPath("linux", "arm64")).toMatch(/linux\/arm64\/libonnxruntime\.so\.1$/);
    expect(() => runtimeLibraryPath("sunos", "sparc")).toThrow(/has no ONNX Runtime library .* for sunos sparc$/);
  });
});
