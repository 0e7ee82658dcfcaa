"""Train one of the two tiny models, stage by stage.

    python train.py llama  --texts DIR --out DIR
    python train.py pythia --texts DIR --out DIR

Each stage ends with a checkpoint OUT/stage-N; --first-stage N goes on from the
one before, or from the checkpoint given with --start. One thread is used: run
both models side by side.
"""

import argparse
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

import blocked_attention  # noqa: F401  (registers the attention "blocked")
from architecture import body_of, make_model
from data import ANSWER, KINDS, Batches
from init import init_structured
from muon import Muon
from recall import RecallTask
from recipe import RECIPES
from texts import load_texts, split_tokens, train_tokenizer

MATRIX_RATE = 0.014
OTHER_RATE = 3e-3
WARM_UP = 40
REPORT_EVERY = 20
SEEDS = {"llama": 1, "pythia": 2}


def make_optimisers(model):
    """Muon for the matrices inside the layers, AdamW for the embedding, norms and biases."""
    inner, vectors, tables = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            vectors.append(parameter)
        elif "embed" in name or "lm_head" in name:
            tables.append(parameter)
        else:
            inner.append(parameter)
    groups = [{"params": tables, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    return Muon(inner), torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)


def losses(model, ids, weights):
    """Cross entropy of every token that counts, and its weight; logits only for those."""
    counted = weights[:, 1:] > 0
    with torch.autocast("cpu", torch.bfloat16):
        hidden = body_of(model)(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.get_output_embeddings()(hidden[counted])
    entropy = cross_entropy(logits.float(), ids[:, 1:][counted], reduction="none")
    return entropy, weights[:, 1:][counted], counted


class Report:
    """Means of the loss since the last line: plain text, answers, repeats."""

    def __init__(self):
        self.sums = {}

    def add(self, entropy, weights, counted, kinds):
        rows = kinds[counted.nonzero()[:, 0]]
        for kind, name in enumerate(KINDS):
            # Of a recall document only the answers, of repeats only what can be foretold.
            floor = {"recall": ANSWER, "repeat": 1.1}.get(name, 0.0)
            chosen = entropy[(rows == kind) & (weights >= floor)].detach()
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + chosen.sum().item(), count + len(chosen))

    def line(self):
        means = [f"{name} {total / count:.3f}" for name, (total, count) in self.sums.items() if count]
        self.sums = {}
        return "  ".join(means)


def train_stage(model, batches, stage, log):
    matrices, others = make_optimisers(model)
    report, began = Report(), time.time()
    model.train()
    for step in range(stage.steps):
        start, end = stage.rate
        rate = start + (end - start) * step / stage.steps
        rate *= min(1.0, (step + 1) / WARM_UP)
        length = int(batches.rng.choice(stage.lengths))
        ids, weights, kinds = batches.batch(stage.tokens // length, length, stage.mix)
        entropy, counts, counted = losses(model, ids, weights)
        model.zero_grad(set_to_none=True)
        ((entropy * counts).sum() / counts.sum()).backward()
        for group in others.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
            group["lr"] = OTHER_RATE * rate
        others.step()
        matrices.step(MATRIX_RATE * rate)
        report.add(entropy, counts, counted, kinds)
        if (step + 1) % REPORT_EVERY == 0:
            speed = (step + 1) * stage.tokens / (time.time() - began)
            log(f"  step {step + 1}/{stage.steps}  {speed:.0f} tokens/s  {report.line()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=sorted(RECIPES))
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first-stage", type=int, default=0)
    parser.add_argument("--start", type=Path, help="the checkpoint to go on from")
    parser.add_argument("--last-stage", type=int, default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    texts = load_texts(args.texts)
    tokenizer = train_tokenizer(texts)
    tokens, _ = split_tokens(tokenizer, texts)
    task = RecallTask(tokenizer, texts)
    if args.first_stage == 0:
        model = make_model(args.kind)
        init_structured(model)
    else:
        before = args.start or args.out / f"stage-{args.first_stage - 1}"
        model = AutoModelForCausalLM.from_pretrained(before, dtype=torch.float32)
    model.set_attn_implementation("blocked")
    count = sum(p.numel() for p in model.parameters())
    print(f"{args.kind}: {count} parameters, {len(tokens)} tokens, {len(task.words)} words", flush=True)

    stages = RECIPES[args.kind]
    last = len(stages) - 1 if args.last_stage is None else args.last_stage
    for index in range(args.first_stage, last + 1):
        print(f"stage {index}: {stages[index]}", flush=True)
        # Seeded by the stage, so that a resumed run is the same run.
        batches = Batches(tokens, tokenizer.get_vocab_size(), task, (SEEDS[args.kind], index))
        train_stage(model, batches, stages[index], lambda line: print(line, flush=True))
        folder = args.out / f"stage-{index}"
        model.save_pretrained(folder)
        tokenizer.save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    main()
