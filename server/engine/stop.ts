const ROOT = 0;
const NONE = 0; // no child, no sibling: the root is neither

/**
 * The stop strings as a tree over code points with Aho and Corasick's suffix links, in flat arrays indexed by node: long
 * lists of long strings cost bytes, not objects.
 */
class StopTree {
  readonly depth: Int32Array; // length of the text on the path to the node, in UTF-16 units
  readonly match: Int32Array; // length of the longest stop string that ends there, 0 for none
  private readonly character: Int32Array;
  private readonly firstChild: Int32Array;
  private readonly sibling: Int32Array;
  private readonly suffix: Int32Array; // the longest proper suffix of the node's text that is also on the tree
  private size = 1;

  constructor(stops: readonly string[]) {
    const capacity = 1 + stops.reduce((sum, stop) => sum + stop.length, 0);
    const array = () => new Int32Array(capacity);
    this.depth = array();
    this.match = array();
    this.character = array();
    this.firstChild = array();
    this.sibling = array();
    this.suffix = array();
    for (const stop of stops) this.insert(stop);
    this.linkSuffixes();
  }

  /** The node of the longest suffix of the text so far that may begin a stop string, after one more character. */
  step(from: number, character: number): number {
    for (let node = from; ; node = this.suffix[node]!) {
      const child = this.child(node, character);
      if (child !== NONE) return child;
      if (node === ROOT) return ROOT;
    }
  }

  private child(node: number, character: number): number {
    let child = this.firstChild[node]!;
    while (child !== NONE && this.character[child] !== character) child = this.sibling[child]!;
    return child;
  }

  private insert(stop: string): void {
    let node = ROOT;
    for (const text of stop) {
      const character = text.codePointAt(0)!;
      let child = this.child(node, character);
      if (child === NONE) {
        child = this.size++;
        this.character[child] = character;
        this.depth[child] = this.depth[node]! + text.length;
        this.sibling[child] = this.firstChild[node]!;
        this.firstChild[node] = child;
      }
      node = child;
    }
    this.match[node] = this.depth[node]!; // an empty string leaves the root at 0: it matches nothing
  }

  /** Breadth first, so that a node's suffix, which is shorter, is done before it. */
  private linkSuffixes(): void {
    const queue = new Int32Array(this.size);
    let queued = 1;
    for (let i = 0; i < queued; i++) {
      const node = queue[i]!;
      for (let child = this.firstChild[node]!; child !== NONE; child = this.sibling[child]!) {
        const suffix = node === ROOT ? ROOT : this.step(this.suffix[node]!, this.character[child]!);
        this.suffix[child] = suffix;
        if (this.match[child] === 0) this.match[child] = this.match[suffix]!;
        queue[queued++] = child;
      }
    }
  }
}

/** The choices of one request stop alike: they share a tree, which may take milliseconds and megabytes. */
const trees = new WeakMap<readonly string[], StopTree>();

function treeOf(stops: readonly string[]): StopTree {
  const tree = trees.get(stops) ?? new StopTree(stops);
  trees.set(stops, tree);
  return tree;
}

/**
 * Finds stop strings in text that arrives in pieces, and holds back what may still become one.
 *
 * The match that is complete first wins; of several complete at the same character, the longest. That makes the outcome
 * independent of how the text was cut into pieces. Any number of stop strings of any length: a character costs a look at
 * the tree, never a search of the text again.
 */
export class StopMatcher {
  private readonly tree: StopTree;
  private state = ROOT;
  private held = "";
  private stopped = false;

  /** Empty strings match nothing. The list must not change. */
  constructor(stops: readonly string[]) {
    this.tree = treeOf(stops);
  }

  /**
   * Takes the next piece of text. Returns what is certain now not to belong to a stop string, and whether one was found:
   * then `text` ends before it, what follows is dropped, and later pieces give nothing. A match that ends in a piece
   * pushed with `stopping` false does not count. Mutates.
   */
  push(piece: string, stopping = true): { text: string; stopped: boolean } {
    if (this.stopped) return { text: "", stopped: true };
    const { tree } = this;
    let end = this.held.length;
    const text = this.held + piece;
    // By code points: half of a surrogate pair never matches.
    for (const character of piece) {
      end += character.length;
      this.state = tree.step(this.state, character.codePointAt(0)!);
      const match = tree.match[this.state]!;
      if (match > 0 && stopping) {
        this.stopped = true;
        this.held = "";
        return { text: text.slice(0, end - match), stopped: true };
      }
    }
    const certain = text.length - tree.depth[this.state]!;
    this.held = text.slice(certain);
    return { text: text.slice(0, certain), stopped: false };
  }

  /** Gives what was held back, at the end of the text. Mutates. */
  flush(): string {
    const text = this.held;
    this.held = "";
    this.state = ROOT;
    return text;
  }
}
