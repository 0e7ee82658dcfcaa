"""Measure a checkpoint: recall under dense, SparQ and window attention, text loss, samples.

    python evaluate.py CHECKPOINT_DIR --texts DIR [--lengths 512,1024,2048,4000] [--count 200]

The answer of a recall item has two tokens: the prompt's pass gives the first and
one decode step, in the attention measured, the second. Both must be right.
"""

import argparse
import copy
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, DynamicCache

from items import ItemMaker, answer_of, prompt_of
from sparse_attention import set_mode
from texts import load_texts, split_tokens, train_tokenizer

MODES = (("dense", 1), ("sparq", 1 / 4), ("sparq", 1 / 8), ("window", 1 / 4), ("window", 1 / 8))
PROMPTS = ("\n", "It was", "ROMEO:\n", "Who are you?\n\nTell me about your sister.")
TEXT_LENGTH = 512


def prefill(model, ids):
    """The cache of a prompt and the logits after it."""
    cache = DynamicCache(config=model.config)
    set_mode("dense")
    result = model(torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache, result.logits[0, -1]


def decode(model, cache, token):
    return model(torch.tensor([[token]]), past_key_values=cache, use_cache=True).logits[0, -1]


@torch.no_grad()
def recall(model, tokenizer, maker, tokens, count):
    """The share of items answered right in each mode."""
    right = dict.fromkeys(MODES, 0)
    for item in maker.make(tokens, count):
        link, value = tokenizer.encode(answer_of(item)).ids
        cache, logits = prefill(model, tokenizer.encode(prompt_of(maker.filler, item)).ids)
        for name, budget in MODES if int(logits.argmax()) == link else ():
            set_mode(name, budget)
            logits = decode(model, copy.deepcopy(cache), link)
            right[name, budget] += int(logits.argmax()) == value
    set_mode("dense")
    return {key: hits / count for key, hits in right.items()}


@torch.no_grad()
def text_loss(model, held_out):
    """Mean cross entropy of a token of the held-out text, in nats."""
    rows = torch.from_numpy(held_out[: len(held_out) // TEXT_LENGTH * TEXT_LENGTH])
    losses = []
    for row in rows.view(-1, TEXT_LENGTH):
        logits = model(row[None, :-1], use_cache=False).logits[0]
        losses.append(cross_entropy(logits, row[1:]).item())
    return sum(losses) / len(losses)


@torch.no_grad()
def sample(model, tokenizer, prompt, tokens, temperature, generator):
    ids = tokenizer.encode(prompt).ids
    cache, logits = prefill(model, ids)
    for _ in range(tokens):
        probabilities = (logits / temperature).softmax(-1)
        ids.append(int(torch.multinomial(probabilities, 1, generator=generator)))
        logits = decode(model, cache, ids[-1])
    return tokenizer.decode(ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--lengths", default="512,1024,2048,4000")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--samples", type=int, default=160, help="tokens of each sample; 0 for none")
    args = parser.parse_args()
    torch.set_num_threads(1)
    texts = load_texts(args.texts)
    tokenizer = train_tokenizer(texts)
    maker = ItemMaker(tokenizer, texts)
    model = AutoModelForCausalLM.from_pretrained(args.checkpoint, dtype=torch.float32).eval()
    model.set_attn_implementation("decode_modes")

    _, held_out = split_tokens(tokenizer, texts)
    print(f"held-out text: {text_loss(model, held_out):.3f} nats a token", flush=True)
    generator = torch.Generator().manual_seed(1)
    for prompt in PROMPTS if args.samples else ():
        text = sample(model, tokenizer, prompt, args.samples, 0.8, generator)
        print(f"--- sample at temperature 0.8\n{text}", flush=True)
    print("--- recall, n =", args.count)
    for length in [int(part) for part in args.lengths.split(",")]:
        shares = recall(model, tokenizer, maker, length, args.count)
        cells = [f"{name} 1/{round(1 / budget)} {share:.3f}" for (name, budget), share in shares.items()]
        print(f"{length:5d} tokens: {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
