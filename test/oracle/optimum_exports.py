"""The same small models as exports.py, exported by Hugging Face optimum: test/golden/exports/*-optimum/.

optimum-onnx needs transformers 4, hence an environment of its own: see requirements-optimum.txt.

    python test/oracle/optimum_exports.py
"""

import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from optimum.exporters.onnx import main_export
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from common import GOLDEN, write_f32, write_json
from onnx_export import ExportOptions, example_inputs, run

PROMPT_LENGTH = 20
COMMON = {"vocab_size": 56, "hidden_size": 24, "num_hidden_layers": 2, "max_position_embeddings": 128,
          "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False}
MODELS = {
    "llama-optimum": lambda: LlamaForCausalLM(LlamaConfig(
        **COMMON, intermediate_size=20, num_attention_heads=6, num_key_value_heads=2, head_dim=8)),
    "neox-optimum": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(
        **COMMON, intermediate_size=40, num_attention_heads=3, rotary_pct=0.5)),
}


def generate(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            weight.normal_(0, 0.3) if weight.ndim > 1 or key.endswith("bias") else weight.uniform_(0.5, 1.5)
    prompt = torch.randint(0, 56, (1, PROMPT_LENGTH), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = model(prompt).logits[0]
    with tempfile.TemporaryDirectory() as work:
        model.save_pretrained(work + "/hf")
        main_export(work + "/hf", work + "/onnx", task="text-generation-with-past", library_name="transformers")
        folder = GOLDEN / "exports" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in ("model.onnx", "config.json"):
            shutil.copyfile(Path(work, "onnx", file), folder / file)
    inputs = example_inputs(model, ExportOptions("", 0), 1, PROMPT_LENGTH, 0) | {"input_ids": prompt}
    difference = float(np.abs(run(folder / "model.onnx", inputs)["logits"][0] - logits.numpy()).max())
    if not difference <= 2e-4:
        raise SystemExit(f"{name}: the export differs from torch by {difference}")
    write_f32(folder / "logits.bin", logits)
    write_json(folder / "golden.json", {
        "family": json.loads((folder / "config.json").read_text())["model_type"], "exporter": "optimum", "past": True,
        "storage": [], "seed": seed, "prompt": prompt[0].tolist(), "shape": list(logits.shape),
        "versions": {package: version(package) for package in ("torch", "transformers", "optimum", "optimum-onnx")},
    })
    print(f"{name}: {(folder / 'model.onnx').stat().st_size} bytes, |ort - torch| {difference:.1e}")


if __name__ == "__main__":
    for index, model_name in enumerate(MODELS):
        generate(model_name, seed=100 + index)
