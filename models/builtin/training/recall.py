"""The recall task: facts scattered over ordinary text, and questions about them.

A fact is a line such as `The secret of garden is river.`; a question is the same
line up to the key, and the model must continue with ` is river`. Keys and values
are words that the tokenizer has as single tokens.

The answer has two tokens on purpose: the first comes out of the prompt's pass,
which is dense in any case, and the value out of a decode step, which is sparse.
"""

import re
from collections import Counter

import numpy as np

BEFORE_KEY = "The secret of"
AFTER_KEY = " is"
AFTER_VALUE = ".\n"
MIN_WORD_LENGTH = 4
MIN_WORD_COUNT = 10


class RecallTask:
    """Builds facts and questions as token ids."""

    def __init__(self, tokenizer, texts):
        self.tokenizer = tokenizer
        self.before_key = tokenizer.encode(BEFORE_KEY).ids
        self.after_key = tokenizer.encode(AFTER_KEY).ids
        self.after_value = tokenizer.encode(AFTER_VALUE).ids
        self.newline = tokenizer.token_to_id("Ċ")
        self.words = self._single_token_words(texts)

    def _single_token_words(self, texts):
        """Ids, commonest first, of tokens that are a space and a whole lower-case word."""
        counts = Counter(re.findall(r"\b[a-z]+\b", " ".join(texts)))
        found = []
        for token, index in self.tokenizer.get_vocab().items():
            word = token[1:]
            if token[0] == "Ġ" and len(word) >= MIN_WORD_LENGTH and counts[word] >= MIN_WORD_COUNT:
                found.append((-counts[word], index))
        return np.array([index for _, index in sorted(found)])

    def draw_pairs(self, rng, count, words=None):
        """`count` pairs of key and value; no word occurs twice among them."""
        chosen = rng.choice(self.words if words is None else words, 2 * count, replace=False)
        return list(zip(chosen[:count].tolist(), chosen[count:].tolist()))

    def question(self, key):
        return [*self.before_key, key]

    def fact(self, key, value):
        return [*self.question(key), *self.after_key, value, *self.after_value]

    def fact_length(self):
        return len(self.fact(0, 0))

    def line_starts(self, filler, count, rng):
        """`count` sorted places in the filler where a line of its own can go."""
        starts = np.flatnonzero(filler == self.newline) + 1
        if len(starts) == 0:
            starts = np.array([0])
        return np.sort(rng.choice(starts, count, replace=True))
