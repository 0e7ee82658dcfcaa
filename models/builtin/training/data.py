"""Training batches: plain text, repeated text, random repeats, recall documents and stutters.

Every kind gives token ids and one loss weight for each of them.
"""

import numpy as np
import torch

# What each kind of token counts in the loss.
TEXT = 1.0
FILLER = 0.5
ANSWER = 8.0
REPEAT = 1.5
# A repeat cannot be foreseen: its first tokens count little.
REPEAT_START = 0.2
REPEAT_START_TOKENS = 6

# How the text goes on after a stutter.
STUTTER_END = 2.0
STUTTER_END_TOKENS = 3

KINDS = ("text", "repeat", "recall", "random", "stutter")


class Batches:
    def __init__(self, tokens, vocabulary, task, seed):
        self.tokens = tokens
        self.vocabulary = vocabulary
        self.task = task
        self.rng = np.random.default_rng(seed)

    def window(self, length):
        start = self.rng.integers(0, len(self.tokens) - length)
        return self.tokens[start : start + length]

    def text(self, length):
        return list(self.window(length)), [TEXT] * length

    def repeat(self, length):
        """Text in which pieces of what went before come again: this makes copying pay."""
        rng = self.rng
        ids = list(self.window(max(48, length // 3)))
        weights = [TEXT] * len(ids)
        while len(ids) < length:
            if rng.random() < 0.6:
                size = int(rng.integers(16, max(17, min(len(ids), length // 2))))
                start = int(rng.integers(0, len(ids) - size + 1))
                ids += ids[start : start + size]
                weights += [REPEAT_START] * REPEAT_START_TOKENS
                weights += [REPEAT] * (size - REPEAT_START_TOKENS)
            else:
                size = int(rng.integers(16, max(17, length // 4)))
                ids += list(self.window(size))
                weights += [TEXT] * size
        return ids, weights

    def random(self, length):
        """A random sequence repeated in pieces: only copying can foretell it."""
        rng = self.rng
        if rng.random() < 0.5:
            pool = self.tokens[rng.integers(0, len(self.tokens), length)]
        else:
            pool = rng.integers(1, self.vocabulary, length)
        size = int(rng.integers(8, length // 2))
        ids = list(pool[:size])
        weights = [0.0] * size
        while len(ids) < length:
            start = int(rng.integers(0, size - 4))
            piece = pool[start : min(size, start + int(rng.integers(6, size + 6)))]
            ids += list(piece)
            weights += [0.0] + [REPEAT] * (len(piece) - 1)
        return ids, weights

    def stutter(self, length):
        """Text broken by phrases of its own, said again once or several times, after which it goes on.

        The model must leave a phrase that it has said before, so that its own text does not run into loops. The
        repeated tokens themselves do not count.
        """
        rng = self.rng
        source = self.window(length)
        ids, weights, used = [], [], 0
        while len(ids) < length:
            size = int(rng.integers(16, 96))
            part = source[used : used + size]
            used += size
            fresh = min(STUTTER_END_TOKENS, len(part)) if ids else 0
            ids += list(part)
            weights += [STUTTER_END] * fresh + [TEXT] * (len(part) - fresh)
            phrase_length = int(rng.integers(2, 15))
            start = len(ids) - phrase_length
            if rng.random() < 0.4:
                start = int(rng.integers(0, start + 1))
            copies = list(ids[start : start + phrase_length]) * int(rng.integers(1, 5))
            # A phrase need not stop at its end.
            copies = copies[: max(1, len(copies) - int(rng.integers(0, phrase_length)))]
            ids += copies
            weights += [0.0] * len(copies)
        return ids, weights

    def recall(self, length):
        """Facts in the first part of a text, questions about all of them in the rest.

        Facts and the beginnings of questions do not count in the loss: the model must
        answer, not scatter facts over the text that it writes.
        """
        rng, task = self.rng, self.task
        most = max(3, min(48, length // 28))
        pairs = task.draw_pairs(rng, int(rng.integers(2, most + 1)))
        used = 2 * len(pairs) * task.fact_length()
        filler = self.window(max(16, length - used))
        cut = int(len(filler) * rng.uniform(0.4, 1.0))
        ids, weights = [], []

        def add(tokens, weight):
            ids.extend(tokens)
            weights.extend([weight] * len(tokens))

        def scatter(part, order, weight):
            """Lines for `order` at random places of `part`; their values count `weight`."""
            last = 0
            for place, index in zip(task.line_starts(part, len(order), rng), order):
                add(part[last:place], FILLER)
                last = place
                if ids and ids[-1] != task.newline:
                    add([task.newline], 0.0)
                key, value = pairs[index]
                # Once the key is there the rest of a question's line can be foretold.
                rest = FILLER if weight else 0.0
                add(task.question(key), 0.0)
                add(task.after_key, rest)
                add([value], weight)
                add(task.after_value, rest)
            add(part[last:], FILLER)

        scatter(filler[:cut], list(range(len(pairs))), 0.0)
        scatter(filler[cut:], list(rng.permutation(len(pairs))), ANSWER)
        return ids, weights

    def batch(self, rows, length, mix):
        """Token ids and weights of `rows` sequences of length + 1, and their kinds."""
        ids = np.zeros((rows, length + 1), np.int64)
        weights = np.zeros((rows, length + 1), np.float32)
        kinds = self.rng.choice(len(KINDS), rows, p=mix)
        for row, kind in enumerate(kinds):
            tokens, counts = getattr(self, KINDS[kind])(length + 1)
            tokens, counts = tokens[: length + 1], counts[: length + 1]
            ids[row, : len(tokens)] = tokens
            weights[row, : len(counts)] = counts
        return torch.from_numpy(ids), torch.from_numpy(weights), torch.from_numpy(kinds)
