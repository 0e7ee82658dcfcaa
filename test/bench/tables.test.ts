import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../attention/root.ts";
import { documents } from "../../bench/tables/documents.ts";
import { withError } from "../../bench/tables/evaluation.ts";
import { fillMarks, markdownTable } from "../../bench/tables/markdown.ts";

describe("tables in documents", () => {
  it("fills each mark with what has its name, and leaves the rest alone", () => {
    const text =
      "a\n<!-- figures: one -->\nold\n<!-- end of figures -->\nb\n<!-- figures: two -->\n<!-- end of figures -->\n";
    const filled = fillMarks(text, (name) => name.toUpperCase());
    expect(filled).toBe(
      "a\n<!-- figures: one -->\nONE\n<!-- end of figures -->\nb\n<!-- figures: two -->\nTWO\n<!-- end of figures -->\n",
    );
    expect(fillMarks(filled, (name) => name.toUpperCase())).toBe(filled);
    expect(fillMarks("no marks", () => "x")).toBe("no marks");
  });

  it("refuses a mark that is not closed", () => {
    expect(() => fillMarks("<!-- figures: one -->", () => "")).toThrow("figures one are opened and not closed");
    const nested = "<!-- figures: one --><!-- figures: two --><!-- end of figures -->";
    expect(() => fillMarks(nested, () => "")).toThrow("figures one are opened and not closed");
  });

  it("refuses a row that does not fit its head", () => {
    expect(markdownTable(["a", "b"], [[1, "x"]])).toBe("| a | b |\n| --- | --- |\n| 1 | x |");
    expect(() => markdownTable(["a", "b"], [[1]])).toThrow("a row has 1 cells under a head of 2");
  });

  it("gives values the digits that their errors allow", () => {
    expect(withError(0.2134, 0.0312, true)).toBe("21 ± 3 %");
    expect(withError(0.2134, 0.00312, true)).toBe("21.3 ± 0.3 %");
    expect(withError(0.0223, 0.0046)).toBe("0.022 ± 0.005");
    expect(withError(0.00223, 0.00046)).toBe("(2.2 ± 0.5)e-3");
    expect(withError(0.00223, 0.0046)).toBe("(2 ± 5)e-3");
    expect(withError(0.0132, 0.00153)).toBe("0.0132 ± 0.0015");
    expect(withError(180.4, 12.3)).toBe("180 ± 12");
    expect(withError(1, 0, true)).toBe("100 %");
  });
});

describe("the documents", () => {
  it("have the figures of the results that are committed (npm run tables makes them)", async () => {
    const root = packageRoot();
    for (const { path, text } of await documents(root)) {
      expect(readFileSync(join(root, path), "utf8"), path).toBe(text);
    }
  });
});
