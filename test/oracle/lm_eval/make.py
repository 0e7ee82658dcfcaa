"""The small lm-evaluation-harness tasks beside this file, from the text of a book in the public domain.

    python test/oracle/lm_eval/make.py BOOK.txt

They are made of Lewis Carroll's "Alice's Adventures in Wonderland" (1865), one paragraph a block of lines, without
anything before its first chapter or after its end. The same text gives the same files: the seed is fixed.

next_sentence.jsonl   a passage, the sentence that follows it, and three that do not: which is the likeliest?
last_word.jsonl       a passage that ends before its last word, which must be generated (as LAMBADA does)
passages.jsonl        passages for perplexity
"""

import json
import random
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
CHOICES = 4
ITEMS = 80
PASSAGES = 12


def sentences_of(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8").translate(str.maketrans("“”‘’—", "\"\"''-")).replace("_", "")
    # A heading is a line without a small letter or one that names a chapter.
    paragraphs = [" ".join(block.split()) for block in re.split(r"\n\s*\n", text)]
    prose = [p for p in paragraphs if len(p) > 80 and "CHAPTER" not in p and "*" not in p]
    return [s for p in prose for s in re.split(r"(?<=[.!?])\s+(?=[A-Z\"'])", p)]


def word_count(text: str) -> int:
    return len(text.split())


def context_before(sentences: list[str], index: int, words: int) -> str:
    """The sentences before `index`, as many as make `words` words."""
    start = index
    while start > 0 and word_count(" ".join(sentences[start:index])) < words:
        start -= 1
    return " ".join(sentences[start:index])


def next_sentences(sentences: list[str], random_: random.Random) -> list[dict]:
    plain = [i for i, s in enumerate(sentences) if 8 <= word_count(s) <= 25 and i > 20]
    items = []
    for index in sorted(random_.sample(plain, ITEMS)):
        others = random_.sample([i for i in plain if abs(i - index) > 20], CHOICES - 1)
        choices = [sentences[i] for i in (index, *others)]
        random_.shuffle(choices)
        items.append({"context": context_before(sentences, index, 60), "choices": choices,
                      "answer": choices.index(sentences[index])})
    return items


def last_words(sentences: list[str], random_: random.Random) -> list[dict]:
    """Passages whose last word, a plain one of four letters or more, was there before."""
    items = []
    for index, sentence in enumerate(sentences):
        match = re.fullmatch(r"(.{40,}) ([A-Za-z]{4,})[.!?]['\"]?", sentence)
        if match is None or index < 20:
            continue
        text = f"{context_before(sentences, index, 60)} {match[1]}"
        if re.search(rf"\b{match[2]}\b", text, re.IGNORECASE):
            items.append({"context": text, "word": match[2]})
    return [items[i] for i in sorted(random_.sample(range(len(items)), min(ITEMS, len(items))))]


def passages(sentences: list[str], random_: random.Random) -> list[dict]:
    starts = sorted(random_.sample(range(0, len(sentences) - 40, 40), PASSAGES))
    return [{"text": " ".join(sentences[start:start + 12])} for start in starts]


def main() -> None:
    sentences = sentences_of(Path(sys.argv[1]))
    for name, make in (("next_sentence", next_sentences), ("last_word", last_words), ("passages", passages)):
        items = make(sentences, random.Random(20))
        lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
        (FOLDER / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        print(name, len(items), len(lines), "bytes")


if __name__ == "__main__":
    main()
