"""Small random models of architectures that sparq knows nothing of, exported by Hugging Face optimum: test/golden/as-is/.

They are served by ONNX Runtime as they are. optimum-onnx needs transformers 4, hence an environment of its own: see
requirements-optimum.txt.

    python test/oracle/as_is_exports.py
"""

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from optimum.exporters.onnx import main_export
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
)

from common import GOLDEN, write_f32, write_json

PROMPT_LENGTH = 24
COMMON = {"vocab_size": 56, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
SHAPE = {**COMMON, "hidden_size": 16, "intermediate_size": 20, "num_attention_heads": 4, "max_position_embeddings": 128}
MODELS = {
    # Soft caps on the scores and the logits; every second layer sees 16 positions.
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(
        **SHAPE, num_hidden_layers=2, num_key_value_heads=2, head_dim=8, sliding_window=16)),
    # Learned positions; its config.json spells every size in its own way.
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**COMMON, n_embd=16, n_layer=1, n_head=2, n_positions=128)),
    # Values of another width than keys.
    "deepseek-v3": lambda: DeepseekV3ForCausalLM(DeepseekV3Config(
        **SHAPE, num_hidden_layers=1, num_key_value_heads=4, first_k_dense_replace=1, q_lora_rank=8, kv_lora_rank=8,
        qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=6)),
}


def feeds(session: onnxruntime.InferenceSession, prompt: torch.Tensor) -> dict[str, np.ndarray]:
    plain = {"input_ids": prompt.numpy(), "attention_mask": np.ones(prompt.shape, np.int64),
             "position_ids": np.arange(prompt.shape[1])[None]}
    empty = {value.name: np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
             for value in session.get_inputs() if len(value.shape) == 4}
    return {value.name: (plain | empty)[value.name] for value in session.get_inputs()}


def generate(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.3)
    prompt = torch.randint(0, 56, (1, PROMPT_LENGTH), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = model(prompt).logits[0].numpy()
    folder = GOLDEN / "as-is" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        model.save_pretrained(work + "/hf")
        main_export(work + "/hf", work + "/onnx", task="text-generation-with-past", library_name="transformers")
        for file in ("model.onnx", "config.json"):
            shutil.copyfile(Path(work, "onnx", file), folder / file)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    difference = float(np.abs(session.run(["logits"], feeds(session, prompt))[0][0] - logits).max())
    if not difference <= 2e-4:
        raise SystemExit(f"{name}: the export differs from torch by {difference}")
    write_f32(folder / "logits.bin", logits)
    write_json(folder / "golden.json", {
        "family": model.config.model_type, "exporter": "optimum", "seed": seed, "prompt": prompt[0].tolist(),
        "shape": list(logits.shape),
        "versions": {package: version(package) for package in ("torch", "transformers", "optimum", "optimum-onnx")},
    })
    print(f"{name}: {(folder / 'model.onnx').stat().st_size} bytes, |ort - torch| {difference:.1e}")


if __name__ == "__main__":
    for index, model_name in enumerate(MODELS):
        generate(model_name, seed=300 + index)
