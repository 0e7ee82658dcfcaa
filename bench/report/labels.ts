/** A point and its label, in pixels; y grows downwards. */
export interface Labelled {
  readonly x: number;
  readonly y: number;
  readonly text: string;
}

export interface LabelPlace {
  /** Of the text's left end and its middle line, from the point. */
  readonly dx: number;
  readonly dy: number;
}

interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

const CHARACTER = 5.6; // of 10 pixel sans-serif, a little more than it is
const HALF_HEIGHT = 6;
const DOT = 5;
const GAP = 7;
/** How far up or down a label may move, in steps of its height. */
const MOST_STEPS = 8;

/**
 * Where labels go so that none covers another or a point, greedily in the given order: to the right, to the left, and then ever
 * further above and below. If there is no such place a label stands to the right all the same.
 */
export function placeLabels(points: readonly Labelled[], width: number, height: number): LabelPlace[] {
  const taken: Box[] = points.map(({ x, y }) => ({ left: x - DOT, right: x + DOT, top: y - DOT, bottom: y + DOT }));
  const free = (box: Box) =>
    box.left >= 0 &&
    box.right <= width &&
    box.top >= 0 &&
    box.bottom <= height &&
    taken.every((t) => box.right <= t.left || box.left >= t.right || box.bottom <= t.top || box.top >= t.bottom);
  return points.map(({ x, y, text }) => {
    const long = text.length * CHARACTER;
    const places = placesFor(long);
    const boxOf = ({ dx, dy }: LabelPlace): Box => ({
      ...{ left: x + dx, right: x + dx + long },
      ...{ top: y + dy - HALF_HEIGHT, bottom: y + dy + HALF_HEIGHT },
    });
    const place = places.find((candidate) => free(boxOf(candidate))) ?? places[0]!;
    taken.push(boxOf(place));
    return place;
  });
}

function placesFor(long: number): LabelPlace[] {
  const places: LabelPlace[] = [];
  for (let step = 0; step <= MOST_STEPS; step++) {
    for (const dy of step === 0 ? [0] : [-step * 2 * HALF_HEIGHT, step * 2 * HALF_HEIGHT]) {
      places.push({ dx: GAP, dy }, { dx: -GAP - long, dy });
    }
  }
  return places;
}
