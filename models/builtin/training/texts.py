"""The three public-domain texts, and the tokenizer trained on them."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

FILES = ("tinyshakespeare.txt", "book_alice_in_wonderland.txt", "book_pride_and_prejudice.txt")
VOCABULARY = 2048
END_OF_TEXT = "<|endoftext|>"
# The last part of each text is never trained on: the filler of the recall test comes from it.
HELD_OUT = 0.05

# Typographic quotes and dashes become ASCII, which saves the small vocabulary many pieces.
PLAIN = {0x201C: '"', 0x201D: '"', 0x2018: "'", 0x2019: "'", 0x2014: "--", 0xFEFF: None}


def load_texts(folder):
    """The texts as one string each, in the order of FILES."""
    raw = [(Path(folder) / name).read_text(encoding="utf-8") for name in FILES]
    return [text.replace("\r\n", "\n").translate(PLAIN).replace("_", "") for text in raw]


def train_tokenizer(texts):
    """A byte-level BPE; digits stay apart so that numbers do not eat the vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def split_tokens(tokenizer, texts):
    """Token ids to train on, and the held-out ids, each over all texts."""
    train, held_out = [], []
    for text in texts:
        ids = np.array(tokenizer.encode(text).ids, dtype=np.int64)
        cut = int(len(ids) * (1 - HELD_OUT))
        train.append(ids[:cut])
        held_out.append(ids[cut:])
    return np.concatenate(train), np.concatenate(held_out)
