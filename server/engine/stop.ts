interface Node {
  readonly next: Map<string, Node>;
  /** Length of the text on the path to here, in UTF-16 units. */
  readonly depth: number;
  /** The longest proper suffix of that text which is also on the tree. */
  suffix: Node;
  /** Length of the longest stop string that ends here, 0 for none. */
  match: number;
}

/**
 * Finds stop strings in text that arrives in pieces, and holds back what may still become one (Aho-Corasick, so each
 * character costs the same for any number and length of stop strings).
 *
 * The match that is complete first wins; of several complete at the same character, the longest. That makes the outcome
 * independent of how the text was cut into pieces.
 */
export class StopMatcher {
  private readonly root: Node;
  private state: Node;
  private held = "";
  private stopped = false;

  /** Empty strings match nothing. */
  constructor(stops: readonly string[]) {
    this.root = newNode(0);
    for (const stop of stops) insert(this.root, stop);
    linkSuffixes(this.root);
    this.state = this.root;
  }

  /**
   * Takes the next piece of text. Returns what is certain now not to belong to a stop string, and whether one was found:
   * then `text` ends before it, what follows is dropped, and later pieces give nothing. Mutates.
   */
  push(piece: string): { text: string; stopped: boolean } {
    if (this.stopped) return { text: "", stopped: true };
    let end = this.held.length;
    const text = this.held + piece;
    // By code points: half of a surrogate pair never matches.
    for (const character of piece) {
      end += character.length;
      this.state = step(this.root, this.state, character);
      if (this.state.match > 0) {
        this.stopped = true;
        this.held = "";
        return { text: text.slice(0, end - this.state.match), stopped: true };
      }
    }
    const certain = text.length - this.state.depth;
    this.held = text.slice(certain);
    return { text: text.slice(0, certain), stopped: false };
  }

  /** Gives what was held back, at the end of the text. Mutates. */
  flush(): string {
    const text = this.held;
    this.held = "";
    this.state = this.root;
    return text;
  }
}

function newNode(depth: number): Node {
  const node = { next: new Map<string, Node>(), depth, match: 0 } as Node;
  node.suffix = node;
  return node;
}

function insert(root: Node, stop: string): void {
  let node = root;
  for (const character of stop) {
    let child = node.next.get(character);
    if (child === undefined) {
      child = newNode(node.depth + character.length);
      node.next.set(character, child);
    }
    node = child;
  }
  if (node !== root) node.match = node.depth;
}

function step(root: Node, from: Node, character: string): Node {
  for (let node = from; ; node = node.suffix) {
    const child = node.next.get(character);
    if (child !== undefined) return child;
    if (node === root) return root;
  }
}

/** Breadth first, so that a node's suffix, which is shorter, is done before it. */
function linkSuffixes(root: Node): void {
  const queue = [root];
  for (const node of queue) {
    for (const [character, child] of node.next) {
      child.suffix = node === root ? root : step(root, node.suffix, character);
      child.match ||= child.suffix.match;
      queue.push(child);
    }
  }
}
