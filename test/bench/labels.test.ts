import fc from "fast-check";
import { expect, it } from "vitest";
import { placeLabels } from "../../bench/report/labels.ts";

const point = fc.record({
  x: fc.integer({ min: 0, max: 500 }),
  y: fc.integer({ min: 0, max: 300 }),
  text: fc.constantFrom("dense", "sparq:1/8", "window:1/8"),
});

it("labels are beside their points, and cover no other while there is room", () => {
  fc.assert(
    fc.property(fc.array(point, { maxLength: 8 }), (points) => {
      const places = placeLabels(points, 520, 300);
      const boxes = places.map(({ dx, dy }, i) => {
        const { x, y, text } = points[i]!;
        return { left: x + dx, right: x + dx + 5.6 * text.length, top: y + dy - 6, bottom: y + dy + 6 };
      });
      for (const [i, a] of boxes.entries()) {
        for (const b of boxes.slice(i + 1)) {
          const apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
          expect(apart).toBe(true);
        }
      }
    }),
  );
});

it("a label stands to the right of its point if there is nothing in its way, and to the left at the edge", () => {
  expect(placeLabels([{ x: 100, y: 100, text: "dense" }], 520, 300)).toEqual([{ dx: 7, dy: 0 }]);
  expect(placeLabels([{ x: 515, y: 100, text: "dense" }], 520, 300)).toEqual([{ dx: -35, dy: 0 }]);
});
