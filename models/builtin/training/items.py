"""Test items of the recall task, and the compact file that holds a sample of them.

    python items.py --texts DIR --out ../recall.json

The file has the held-out text once and, for each item, which part of it is the
filler and where the facts go; README.md describes it. `prompt_of` is the
definition of how a prompt is put together from an item.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from recall import AFTER_KEY, AFTER_VALUE, BEFORE_KEY, RecallTask
from texts import load_texts, split_tokens, train_tokenizer

FACTS = 16
# Function words, which make odd facts, are only trained on.
COMMONEST_WORDS = 120
SEED = 2048


def held_out_text(tokenizer, held_out):
    """The held-out text and the character offset at which each of its tokens starts."""
    pieces = [tokenizer.decode([token]) for token in held_out.tolist()]
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    return "".join(pieces), offsets


def prompt_of(filler, item):
    """The prompt of an item: filler with fact lines in it, then the question up to its key."""
    start, length = item["start"], item["length"]
    text, parts, last = filler[start : start + length], [], 0
    for place, key, value in item["facts"]:
        parts += [text[last:place], f"{BEFORE_KEY} {key}{AFTER_KEY} {value}{AFTER_VALUE}"]
        last = place
    parts.append(text[last:])
    prompt = "".join(parts)
    line_break = "" if prompt.endswith("\n") else "\n"
    return f"{prompt}{line_break}{BEFORE_KEY} {item['facts'][item['ask']][1]}"


def answer_of(item):
    return f"{AFTER_KEY} {item['facts'][item['ask']][2]}"


class ItemMaker:
    def __init__(self, tokenizer, texts):
        _, self.held_out = split_tokens(tokenizer, texts)
        self.task = RecallTask(tokenizer, texts)
        self.filler, self.offsets = held_out_text(tokenizer, self.held_out)
        # Places for facts: where a token starts a line.
        self.line_starts = np.flatnonzero(self.held_out == self.task.newline) + 1
        self.word = lambda index: tokenizer.id_to_token(index)[1:]

    def make(self, tokens, count, seed=SEED):
        """`count` items whose prompts have about `tokens` tokens."""
        rng = np.random.default_rng((seed, tokens))
        size = tokens - FACTS * self.task.fact_length() - len(self.task.question(0)) - 1
        # Every place among the facts is asked for equally often.
        asked = rng.permutation(np.arange(count) % FACTS)
        return [self._item(rng, size, int(ask)) for ask in asked]

    def _item(self, rng, size, ask):
        first = int(rng.integers(0, len(self.held_out) - size))
        # One fact in each sixteenth of the filler, at the line start next to a random place.
        wanted = first + (np.arange(FACTS) + rng.random(FACTS)) * size / FACTS
        inside = self.line_starts[(self.line_starts >= first) & (self.line_starts <= first + size)]
        nearest = np.abs(inside[None] - wanted[:, None]).argmin(1)
        places = self.offsets[inside[nearest]] - self.offsets[first]
        words = self.task.words[COMMONEST_WORDS:]
        pairs = self.task.draw_pairs(rng, FACTS, words)
        facts = [[int(p), self.word(k), self.word(v)] for p, (k, v) in zip(places, pairs)]
        start, end = int(self.offsets[first]), int(self.offsets[first + size])
        return {"start": start, "length": end - start, "ask": ask, "facts": facts}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--count", type=int, default=200)
    args = parser.parse_args()
    texts = load_texts(args.texts)
    tokenizer = train_tokenizer(texts)
    maker = ItemMaker(tokenizer, texts)
    items = maker.make(args.tokens, args.count)
    lengths = [len(tokenizer.encode(prompt_of(maker.filler, item)).ids) for item in items]
    head = json.dumps({"tokens": args.tokens, "filler": maker.filler})
    lines = ",\n".join(json.dumps(item, separators=(",", ":")) for item in items)
    args.out.write_text(f'{head[:-1]}, "items": [\n{lines}\n]}}\n')
    print(f"{len(items)} items of {min(lengths)} to {max(lengths)} tokens, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
