"""Small random checkpoints of every architecture and variant of configuration, with transformers' logits.

test/golden/checkpoints/: NAME.safetensors (or shards with their index), shared by the variants that differ in config.json
only; index.json: for each variant its config.json, the weights' files, token ids and the rows stored; logits.bin: float32
[rows, vocab] of all variants, one after the other.

    python test/oracle/checkpoints.py
"""

import json

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from common import GOLDEN, write_f32

FOLDER = GOLDEN / "checkpoints"
VOCAB = 64
TOKENS = 48
ORIGINAL = 24  # positions before any scaling: half of the tokens are beyond
ROWS = [0, 1, 5, 9, 10, 11, 12, 17, 22, 23, 24, 25, 31, 40, 47]

COMMON = dict(vocab_size=VOCAB, num_hidden_layers=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
              pad_token_id=None)
LLAMA = COMMON | dict(model_type="llama", hidden_size=48, intermediate_size=56, num_attention_heads=4,
                      num_key_value_heads=2, hidden_act="silu", rms_norm_eps=1e-5, tie_word_embeddings=False)
ODD = LLAMA | dict(hidden_size=42, num_attention_heads=3, num_key_value_heads=1, head_dim=20, intermediate_size=36,
                   attention_bias=True, mlp_bias=True, tie_word_embeddings=True)
# Llama 1's config.json, from before there were grouped heads.
ALONE = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"} | dict(
    hidden_size=32, intermediate_size=40, num_attention_heads=2)
MISTRAL = LLAMA | dict(model_type="mistral", hidden_size=32, intermediate_size=48, num_attention_heads=2,
                       num_key_value_heads=1, rms_norm_eps=1e-6)
QWEN2 = LLAMA | dict(model_type="qwen2", hidden_size=32, intermediate_size=48, num_attention_heads=4, rms_norm_eps=1e-6,
                     tie_word_embeddings=True, use_sliding_window=False, sliding_window=10, max_window_layers=1)
QWEN3 = LLAMA | dict(model_type="qwen3", hidden_size=32, intermediate_size=48, num_attention_heads=4, head_dim=14,
                     rms_norm_eps=1e-6, tie_word_embeddings=True, attention_bias=False)
PHI3 = LLAMA | dict(model_type="phi3", hidden_size=32, intermediate_size=48, num_attention_heads=2,
                    num_key_value_heads=1, partial_rotary_factor=0.75, original_max_position_embeddings=ORIGINAL)
GEMMA = LLAMA | dict(model_type="gemma", hidden_size=32, intermediate_size=48, num_attention_heads=2,
                     num_key_value_heads=1, head_dim=24, hidden_act="gelu", tie_word_embeddings=True)
NEOX = COMMON | dict(model_type="gpt_neox", hidden_size=32, intermediate_size=64, num_attention_heads=2,
                     hidden_act="gelu", layer_norm_eps=1e-5, rotary_pct=0.25, rotary_emb_base=10000,
                     use_parallel_residual=True, tie_word_embeddings=False)


def longrope(components: int, spelling: str) -> dict:
    short = [round(1 + 0.05 * i, 3) for i in range(components)]
    long = [round(1.5 + 0.6 * i, 3) for i in range(components)]
    return {spelling: "longrope", "short_factor": short, "long_factor": long}


def scaled(base: dict, positions: int = 64, **scaling) -> dict:
    return base | dict(max_position_embeddings=positions, rope_scaling=scaling)


YARN = dict(factor=4.0, original_max_position_embeddings=16)
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
LONG = dict(original_max_position_embeddings=ORIGINAL)

# weights: how they are stored, and the variants that share them, each with its config.json and how much of the ids it runs
WEIGHTS = {
    "llama": (torch.bfloat16, 1, {
        "llama": LLAMA,
        "llama-theta": LLAMA | dict(rope_theta=500.0),
        "llama-linear-type": scaled(LLAMA, type="linear", factor=3.0),
        "llama-linear-rope_type": scaled(LLAMA, rope_type="linear", factor=3.0),
        "llama-dynamic-inside": (scaled(LLAMA, ORIGINAL, type="dynamic", factor=2.5), ORIGINAL),
        "llama-dynamic-beyond": scaled(LLAMA, ORIGINAL, type="dynamic", factor=2.5),
        "llama-dynamic-rope_type": scaled(LLAMA, ORIGINAL, rope_type="dynamic", factor=2.5),
        "llama-llama3-type": scaled(LLAMA, type="llama3", **LLAMA3),
        "llama-llama3-rope_type": scaled(LLAMA, rope_type="llama3", **LLAMA3),
        "llama-yarn-type": scaled(LLAMA, type="yarn", **YARN),
        "llama-yarn-rope_type": scaled(LLAMA, rope_type="yarn", **YARN, beta_fast=4.0, attention_factor=1.3),
        "llama-longrope-inside": (scaled(LLAMA, **longrope(6, "type"), **LONG), ORIGINAL),
        "llama-longrope-beyond": scaled(LLAMA, **longrope(6, "rope_type"), **LONG, factor=4.0),
    }),
    "llama-odd": (torch.float16, 2, {"llama-odd": ODD}),
    "llama-f32": (torch.float32, 1, {"llama-f32": LLAMA | dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1)}),
    "mistral": (torch.bfloat16, 1, {
        "mistral-window": MISTRAL | dict(sliding_window=10),
        "mistral-no-window": MISTRAL | dict(sliding_window=None),
    }),
    "qwen2": (torch.bfloat16, 1, {
        "qwen2": QWEN2,
        "qwen2-window": QWEN2 | dict(use_sliding_window=True),
        "qwen2-layer-types": QWEN2 | dict(use_sliding_window=True, layer_types=["sliding_attention", "full_attention"]),
        "qwen2-yarn": scaled(QWEN2, type="yarn", **YARN),
    }),
    "qwen3": (torch.bfloat16, 1, {"qwen3": QWEN3}),
    "qwen3-bias": (torch.float32, 1, {"qwen3-bias": QWEN3 | dict(attention_bias=True, num_hidden_layers=1)}),
    "phi3": (torch.bfloat16, 1, {
        "phi3": PHI3,
        "phi3-window": PHI3 | dict(sliding_window=11),
        "phi3-longrope-inside": (scaled(PHI3, **longrope(6, "type")), ORIGINAL),
        "phi3-longrope-beyond": scaled(PHI3, **longrope(6, "type")),
    }),
    "gemma": (torch.bfloat16, 1, {"gemma": GEMMA}),
    "gpt_neox": (torch.float16, 1, {
        "gpt_neox": NEOX,
        "gpt_neox-serial": NEOX | dict(use_parallel_residual=False),
        "gpt_neox-whole-heads": NEOX | dict(rotary_pct=1.0, hidden_act="gelu_new"),
        "gpt_neox-linear": scaled(NEOX, type="linear", factor=3.0),
    }),
    "gpt_neox-unbiased": (torch.float16, 1, {
        "gpt_neox-unbiased": NEOX | dict(attention_bias=False, num_hidden_layers=1),
    }),
    "llama-alone": (torch.float16, 1, {
        "llama-alone": ALONE,
        "llama-alone-linear": scaled(ALONE, type="linear", factor=3.0),
    }),
}


# transformers renamed GPT-NeoX's output layer in version 5; Pythia's files have the old name.
OLD_HEAD = "embed_out.weight"
OLD_HEADS = {"gpt_neox"}


def load(config: dict):
    """The model that a config.json describes, as from_pretrained would make it."""
    model_type = config["model_type"]
    parsed = CONFIG_MAPPING[model_type].from_dict(json.loads(json.dumps(config)))
    return AutoModelForCausalLM.from_config(parsed, attn_implementation="eager", dtype=torch.float32).eval()


@torch.no_grad()
def randomise(model, dtype: torch.dtype, seed: int) -> dict:
    """Weights of a size at which attention, norms and biases all matter, rounded to what the file holds."""
    random = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=random)
        if parameter.dim() == 2:
            values = noise * (1.6 / parameter.shape[1] ** 0.5)
        elif name.endswith("bias"):
            values = 0.3 * noise
        else:
            values = 0.2 * noise + (0.0 if model.config.model_type == "gemma" else 1.0)
        parameter.copy_(values.to(dtype).to(torch.float32))
    tied = model.config.tie_word_embeddings
    return {name: value.to(dtype).contiguous().clone() for name, value in model.state_dict().items()
            if not (tied and name == "lm_head.weight")}


def save(name: str, state: dict, shards: int) -> list[str]:
    if name in OLD_HEADS:
        state = {OLD_HEAD if key == "lm_head.weight" else key: value for key, value in state.items()}
    if shards == 1:
        save_file(state, FOLDER / f"{name}.safetensors", metadata={"format": "pt"})
        return [f"{name}.safetensors"]
    names = sorted(state)
    weight_map, files = {}, []
    for shard in range(shards):
        file = f"{name}-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard::shards]
        save_file({key: state[key] for key in part}, FOLDER / file, metadata={"format": "pt"})
        weight_map |= {key: file for key in part}
        files.append(file)
    total = sum(value.numel() * value.element_size() for value in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (FOLDER / f"{name}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    return [f"{name}.safetensors.index.json", *files]


@torch.no_grad()
def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    ids = torch.randint(3, VOCAB, (TOKENS,), generator=torch.Generator().manual_seed(1)).tolist()
    variants, stored, offset = [], [], 0
    for seed, (name, (dtype, shards, configs)) in enumerate(WEIGHTS.items()):
        state = files = None
        for label, entry in configs.items():
            config, length = entry if isinstance(entry, tuple) else (entry, TOKENS)
            model = load(config)
            if state is None:
                state = randomise(model, dtype, seed)
                files = save(name, state, shards)
            missing, unexpected = model.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
            if unexpected or any(not config["tie_word_embeddings"] for _ in missing):
                raise SystemExit(f"{label}: missing {missing}, unexpected {unexpected}")
            model.tie_weights()
            logits = model(torch.tensor([ids[:length]])).logits[0]
            rows = [row for row in ROWS if row < length]
            stored.append(logits[rows].numpy().ravel())
            architecture = {"architectures": [type(model).__name__]}
            variants.append({"name": label, "config": architecture | config, "files": files, "tokens": length,
                             "rows": rows, "offset": offset})
            offset += stored[-1].size
            print(f"{label}: |logits| up to {logits.abs().max():.2f}")
    write_f32(FOLDER / "logits.bin", np.concatenate(stored))
    header = {"torch": torch.__version__, "transformers": transformers.__version__, "vocab": VOCAB, "ids": ids}
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in header.items()]
    lines.append('"variants": [\n' + ",\n".join(json.dumps(variant) for variant in variants) + "\n]")
    (FOLDER / "index.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
