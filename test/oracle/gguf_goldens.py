"""Goldens of GGUF reading, test/golden/gguf/:

- blocks.json: random blocks of each type (hex) and their float32 values as the `gguf` package decodes them (hex).
- tiny.gguf: a random Llama with a different type in nearly every tensor, with SmolLM2's tokenizer cut to its first merges;
  tiny.json and tiny-logits.bin: token ids, float32 logits [T, vocab] of transformers on the dequantised weights, and
  texts with the ids that Hugging Face tokenizers gives them.

    python test/oracle/gguf_goldens.py DIR        DIR has the tokenizer.json of SmolLM2
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

import gguf_llama
from common import GOLDEN, write_f32, write_json
from tokenizer_goldens import TEXTS

Type = gguf.GGMLQuantizationType
FOLDER = GOLDEN / "gguf"
BLOCK_TYPES = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
# Byte offsets of a block's f16 scales; all other bytes of a block may be anything.
# Blocks of these have a random generator of their own, so that the tiny model's weights do not depend on their number.
LATER_BLOCK_TYPES = ["Q2_K", "Q3_K", "IQ4_NL"]
HALVES = {"Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "Q4_1": [0, 2], "Q5_1": [0, 2]}
MERGES = 120
LAYERS, HIDDEN, FEED, HEADS, KV_HEADS, CONTEXT = 2, 64, 96, 4, 2, 128
MORE_TEXTS = [
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|> <|im_end|",
    "1234567890 12.5% 2nd \u0661\u0662\u0663 \u00bd \u2167",
    "tabs\t\tand\n\n\nnewlines \n \n end   ",
    "\U0001f600\U0001f468\u200d\U0001f4bb\U0001f3f3\ufe0f\u200d\U0001f308!!",
    "\u4f60\u597d\u4e16\u754c\uff0c\u3053\u3093\u306b\u3061\u306f \uc548\ub155",
    "for (int i = 0; i < 10; ++i) { a[i] += 0x1F; }\r\n",
    "He'll we've I'd they're it's I'm can't 'S 'LL",
    "e\u0301 \u0130 \u1e9e \ufb01 \u200b\u00ad",
]


def blocks(random: np.random.Generator, types: list[str]) -> dict:
    out = {}
    for name in types:
        kind = Type[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        count = 3 if elements > 1 else 64
        raw = random.integers(0, 256, (count, size), dtype=np.uint8)
        if elements == 1:  # no infinities and NaNs: they have many encodings
            raw = random.normal(size=(count, 1)).astype(np.float16).view(np.uint8).reshape(count, 2)
        for at in HALVES.get(name, [0] if elements > 1 else []):
            raw[:, at:at + 2] = (random.normal(size=(count, 1)) / 50).astype(np.float16).view(np.uint8)
        values = np.asarray(gguf.quants.dequantize(raw, kind), dtype="<f4")
        out[name] = {"bytes": raw.tobytes().hex(), "values": values.tobytes().hex()}
    return out


def cut_tokenizer(folder: Path) -> dict:
    """The tokenizer with its special tokens, bytes and first merges only."""
    whole = json.loads((folder / "tokenizer.json").read_text())
    merges = whole["model"]["merges"][:MERGES]
    first_merge = whole["model"]["vocab"][merges[0].replace(" ", "")]
    vocab = {token: i for token, i in whole["model"]["vocab"].items() if i < first_merge}
    for merge in merges:
        vocab.setdefault(merge.replace(" ", ""), len(vocab))
    assert sorted(vocab.values()) == list(range(len(vocab)))
    whole["model"].update(vocab=vocab, merges=merges)
    return whole


def permute(weight: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to the rows of q and k."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_tiny(path: Path, tokenizer: dict, random: np.random.Generator) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {token["id"] for token in tokenizer["added_tokens"]}
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))])
    writer.add_token_merges(tokenizer["model"]["merges"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}")

    def matrix(name: str, kind: Type, rows: int, columns: int, heads: int | None = None) -> None:
        weight = (random.normal(size=(rows, columns)) * 1.5 / np.sqrt(columns) + 0.01).astype(np.float32)
        weight = permute(weight, heads) if heads else weight
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(weight, kind), raw_dtype=kind)

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", random.uniform(0.5, 1.5, HIDDEN).astype(np.float32))

    head = HIDDEN // HEADS
    matrix("token_embd", Type.Q8_0, len(tokens), HIDDEN)
    norm("output_norm")
    # Layer 0 as quantisers leave it; in layer 1 the types differ within what is one product elsewhere.
    kinds = [["Q4_1", "Q4_1", "Q4_1", "Q4_0", "Q5_0", "Q5_0", "Q8_0"], ["Q4_0", "Q5_1", "F16", "BF16", "Q4_1", "Q8_0", "F32"]]
    for layer in range(LAYERS):
        q, k, v, o, gate, up, down = (Type[kind] for kind in kinds[layer])
        norm(f"blk.{layer}.attn_norm")
        matrix(f"blk.{layer}.attn_q", q, HIDDEN, HIDDEN, HEADS)
        matrix(f"blk.{layer}.attn_k", k, KV_HEADS * head, HIDDEN, KV_HEADS)
        matrix(f"blk.{layer}.attn_v", v, KV_HEADS * head, HIDDEN)
        matrix(f"blk.{layer}.attn_output", o, HIDDEN, HIDDEN)
        norm(f"blk.{layer}.ffn_norm")
        matrix(f"blk.{layer}.ffn_gate", gate, FEED, HIDDEN)
        matrix(f"blk.{layer}.ffn_up", up, FEED, HIDDEN)
        matrix(f"blk.{layer}.ffn_down", down, HIDDEN, FEED)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    random = np.random.default_rng(7)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(FOLDER / "blocks.json", blocks(random, BLOCK_TYPES) | blocks(np.random.default_rng(8), LATER_BLOCK_TYPES))
    tokenizer = cut_tokenizer(folder)
    write_tiny(FOLDER / "tiny.gguf", tokenizer, random)
    ids = random.integers(17, len(tokenizer["model"]["vocab"]), 40).tolist()
    logits = gguf_llama.load(FOLDER / "tiny.gguf")(torch.tensor([ids])).logits[0]
    write_f32(FOLDER / "tiny-logits.bin", logits.numpy())
    encoder = Tokenizer.from_str(json.dumps(tokenizer))
    texts = [{"text": text, "ids": encoder.encode(text).ids} for text in TEXTS + MORE_TEXTS]
    write_json(FOLDER / "tiny.json", {"ids": ids, "vocab": logits.shape[-1], "texts": texts})
    # The same texts with the whole tokenizer, for the real model.
    encoder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prose = (GOLDEN / "prose.txt").read_text()[:4000]
    texts = [{"text": text, "ids": encoder.encode(text).ids} for text in [*TEXTS, *MORE_TEXTS, prose]]
    write_json(GOLDEN / "smollm2" / "tokenizer.json", {"texts": texts})


if __name__ == "__main__":
    main()
