"""Goldens of the built-in models: logits and a greedy continuation by transformers, test/golden/<model>/.

index.json: the sha256 of the model.onnx they belong to and, for each prompt, its token ids, the rows stored and where
in logits.bin they start (in floats; float32 [rows, vocab]).

    python test/oracle/logits.py [--checkpoints DIR]

The weights are those in model.onnx (stored as float16, computed in float32), or of DIR/<model>/ if given.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from common import BUILTIN, GOLDEN, sha256, write_f32, write_json
from graph_weights import load_graph_weights
from onnx_export import ExportOptions, example_inputs, run

MODELS = ("tiny-llama", "tiny-pythia")
SHORT, MEDIUM, LONG = 1, 17, 1200
SPREAD = 50  # of the long prompt, every 50th row and the last
CONTINUATION = 32
TOLERANCE = 1e-3  # model.onnx in ONNX Runtime against torch


def prompts(folder: Path) -> dict[str, list[int]]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode((GOLDEN / "prose.txt").read_text()).ids
    if len(ids) < LONG:
        raise SystemExit(f"prose.txt has {len(ids)} tokens, {LONG} needed")
    return {"one": ids[:SHORT], "short": ids[:MEDIUM], "long": ids[:LONG]}


def check_export(model, folder: Path, ids: list[int], logits: torch.Tensor) -> float:
    """The golden's weights must be the file's: the whole prompt through model.onnx gives the same logits."""
    inputs = example_inputs(model, ExportOptions("", 0), batch=1, length=len(ids), past=0)
    found = run(folder / "model.onnx", inputs | {"input_ids": np.array([ids])})["logits"][0]
    difference = float(np.abs(found - logits.numpy()).max())
    if not difference <= TOLERANCE:
        raise SystemExit(f"{folder.name}: model.onnx and the weights differ by {difference} in their logits")
    return difference


@torch.no_grad()
def generate(name: str, checkpoints: Path | None) -> None:
    folder = BUILTIN / name
    if checkpoints:
        model = AutoModelForCausalLM.from_pretrained(checkpoints / name, dtype=torch.float32).eval()
    else:
        model = load_graph_weights(folder)
    entries, stored, offset = [], [], 0
    for label, ids in prompts(folder).items():
        logits = model(torch.tensor([ids])).logits[0]
        difference = check_export(model, folder, ids, logits)
        rows = list(range(len(ids))) if label != "long" else sorted({*range(0, len(ids), SPREAD), len(ids) - 1})
        stored.append(logits[rows].numpy())
        entries.append({"name": label, "ids": ids, "rows": rows, "offset": offset})
        offset += stored[-1].size
    prompt = prompts(folder)["short"]
    out = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=CONTINUATION,
                         min_new_tokens=CONTINUATION, pad_token_id=0)
    write_f32(GOLDEN / name / "logits.bin", np.concatenate(stored))
    write_json(GOLDEN / name / "index.json", {
        "model_sha256": sha256(folder / "model.onnx"), "vocab": model.config.vocab_size,
        "torch": torch.__version__, "transformers": transformers.__version__, "prompts": entries,
        "greedy": {"prompt": prompt, "continuation": out[0, len(prompt):].tolist()},
    })
    print(f"{name}: {offset * 4} bytes of logits, |model.onnx - torch| {difference:.1e} on {LONG} tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, help="folder of checkpoints to use instead of the files' weights")
    checkpoints = parser.parse_args().checkpoints
    for name in MODELS:
        generate(name, checkpoints)


if __name__ == "__main__":
    main()
