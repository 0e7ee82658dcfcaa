"""Inverse frequencies and attention factors from transformers for test/golden/rope.json.

    python test/oracle/rope.py
"""

import json

import transformers
from transformers import GPTNeoXConfig, LlamaConfig
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from common import GOLDEN

LLAMA3_2 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
LONG_FACTORS = [1.0 + 0.5 * i for i in range(16)]

# name -> (model_type, config.json keys that matter, as transformers 5 writes them)
CASES = {
    "default": ("llama", {"head_dim": 64, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
    "default-theta-1e6": ("llama", {"head_dim": 128, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "default-from-hidden": ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
    "linear": ("llama", {"head_dim": 64, "rope_parameters": {
        "rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "dynamic": ("llama", {"head_dim": 64, "rope_parameters": {
        "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}),
    "llama3": ("llama", {"head_dim": 64, "max_position_embeddings": 131072, "rope_parameters": LLAMA3_2}),
    "llama3-small": ("llama", {"head_dim": 32, "max_position_embeddings": 8192, "rope_parameters": LLAMA3_2 | {
        "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 512}}),
    "yarn": ("llama", {"head_dim": 64, "max_position_embeddings": 32768, "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 4096}}),
    "longrope": ("llama", {"head_dim": 32, "max_position_embeddings": 8192, "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0, "factor": 2.0, "original_max_position_embeddings": 4096,
        "short_factor": [1.0] * 16, "long_factor": LONG_FACTORS}}),
    "partial-quarter": ("gpt_neox", {"rope_parameters": {
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}}),
    "partial-half": ("gpt_neox", {"rope_parameters": {
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}),
    "partial-linear": ("gpt_neox", {"rope_parameters": {
        "rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0, "partial_rotary_factor": 0.25}}),
}


def case(model_type: str, keys: dict) -> dict:
    keys = {"hidden_size": 512, "num_attention_heads": 8, "max_position_embeddings": 2048} | keys
    if model_type == "llama":
        rotary = LlamaRotaryEmbedding(LlamaConfig(**keys))
    else:
        rotary = GPTNeoXRotaryEmbedding(GPTNeoXConfig(**keys))
    return {
        "config": {"model_type": model_type} | keys,
        "inverse_frequencies": [float(x) for x in rotary.inv_freq],
        "attention_factor": float(rotary.attention_scaling),
    }


def main() -> None:
    cases = {name: case(*value) for name, value in CASES.items()}
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in cases.items()]
    head = f'{{"transformers": "{transformers.__version__}", "cases": {{\n'
    (GOLDEN / "rope.json").write_text(head + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    main()
