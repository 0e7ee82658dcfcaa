"""Goldens of the tokenizers in GGUF files, test/golden/gguf/tokenizers.json: vocabularies as a GGUF's metadata has them, hard
texts, and the ids that other implementations give them.

- "sentencepiece": a model that SentencePiece itself trained on prose.txt; ids by SentencePiece.
- "bytes": byte-level BPE trained without cutting the text first, so that merges cross words, digits and line ends and every
  pre-tokenizer gives other ids; ids by Hugging Face tokenizers with the pre-tokenizers of the models' own tokenizer.json.

    python test/oracle/gguf_tokenizers.py         needs tokenizers and sentencepiece
"""

import io
import json
from pathlib import Path

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SPECIALS = ["<s>", "</s>"]

TEXTS = [
    "", " ", "  ", "\n", "\n\n\n", "\t", "Hello, world!", " Hello", "Hello ", "  two  spaces  ", "a" + " " * 40 + "b",
    "line one\nline two\r\n\r\n\ttabbed\n   indented\n \n end   ", "trailing newline\n", "\r\r\n \r",
    "I'll say it's 3.14159 or 1,000,000; don't 'S 'LL THEY'VE we'Re", "1234567890 12.5% 2nd 007 2000 1999-12-31",
    "\u0661\u0662\u0663 \u00bd \u2167 \u00b2", "def f(x):\n        return {x: [1, 2]}  # eight", "a//b /* c */ ///\n/",
    "caf\u00e9 cafe\u0301 \u212b \ufb01 \u0130 \u1e9e \u1e69 s\u0323\u0307",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3002\u4e2d\u6587\u6df7\u5408 text \uc548\ub155 \u3000wide",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \U0001f1eb\U0001f1f7\U0001f600!!", "\u0410\u0431\u0432 \u0645\u0631\u062d\u0628\u0627 \u0e2a\u0e27\u0e31",
    "zero\u0000byte \u0001\u007f \u0085 \u00a0 nbsp \ufeff bom\ufeff \u200b\u00ad\u2028", "\u2581already\u2581metaspace \u2581 \u2581\u2581",
    "<0x0A> <0xE2> <unk>", "$100 + <b>=^~| `x` \u20ac5 \u00a7 \u2014 \u201cquoted\u201d",
    "CamelCaseHTTPServer McDonald's \u00c9COLE \u01c5ungla \u02b0x ABCdef GHIjkL", "aaaaaaaaaaaaaaaaaaaaaaaaa", "===== ----- .....",
    "the the the of the and the", "It is a truth universally acknowledged, that a single man",
]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(pattern: str):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def byte_level(use_regex: bool):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


# As in the tokenizer.json of GPT-2, SmolLM2, StarCoder2, Llama 3, Qwen2 and Mistral NeMo; "default" is llama.cpp's.
# name: (pre-tokenizers, whether NFC comes first, whether pieces that are tokens ignore the merges)
BYTE_LEVEL = {
    "gpt-2": ([byte_level(True)], False, False),
    "olmo": ([byte_level(True)], True, False),
    "smollm": ([pre_tokenizers.Digits(individual_digits=True), byte_level(True)], False, False),
    "llama-bpe": ([split(LLAMA3), byte_level(False)], False, True),
    "qwen2": ([split(LLAMA3.replace("{1,3}", "")), byte_level(False)], True, False),
    "tekken": ([split(TEKKEN), byte_level(False)], False, True),
    "default": (
        [split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2), split(r"\p{N}+"), split("[0-9][0-9][0-9]"), byte_level(False)],
        False,
        False,
    ),
}


def sentencepiece_golden(lines: list[str]) -> dict:
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=made, model_type="bpe", vocab_size=900, byte_fallback=True,
        character_coverage=1.0, normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, split_digits=True, num_threads=1, minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    ids = range(model.get_piece_size())

    def kind(i: int) -> int:
        kinds = [(model.is_unknown, 2), (model.is_control, 3), (model.is_unused, 5), (model.is_byte, 6)]
        return next((number for test, number in kinds if test(i)), 1)

    return {
        "tokens": [model.id_to_piece(i) for i in ids],
        "kinds": [kind(i) for i in ids],
        "scores": [model.get_score(i) for i in ids],
        "ids": [model.encode(text) for text in TEXTS],
    }


def bytes_golden(lines: list[str]) -> dict:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = byte_level(False)
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=SPECIALS, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False, max_token_length=8,
    )
    trained.train_from_iterator(lines, trainer)
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    # A token that no merges make: only who ignores them finds it.
    tokens.append("\u0120Metro")
    vocab = {token: i for i, token in enumerate(tokens)}
    out = {}
    for name, (steps, composes, ignores) in BYTE_LEVEL.items():
        tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=ignores))
        tokenizer.add_special_tokens(SPECIALS)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        tokenizer.decoder = decoders.ByteLevel()
        if composes:
            tokenizer.normalizer = normalizers.NFC()
        out[name] = [tokenizer.encode(text).ids for text in [*TEXTS, "in a Metro"]]
    kinds = [3 if token in SPECIALS else 1 for token in tokens]
    return {"tokens": tokens, "kinds": kinds, "merges": [" ".join(merge) for merge in merges], "ids": out}


def main() -> None:
    prose = (GOLDEN / "prose.txt").read_text()
    lines = [*prose.split("\n"), *TEXTS]
    # Runs of everything that pre-tokenizers part differently.
    varied = [f"{text}{text} {text}\n{text}" for text in [*TEXTS, "12345 67,890", "He'LL it'S", "\n\n  x", "):\n    ", "a/b\n/"]]
    golden = {
        "texts": TEXTS,
        "sentencepiece": sentencepiece_golden([line.replace("\x00", "") for line in lines if line]),
        "bytes": bytes_golden([*lines, *varied]),
    }
    different = {json.dumps(ids) for ids in golden["bytes"]["ids"].values()}
    assert len(different) == len(BYTE_LEVEL), "two pre-tokenizers give the same ids everywhere"
    text = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in golden.items())
    (GOLDEN / "gguf" / "tokenizers.json").write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main()
