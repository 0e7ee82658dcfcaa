"""Small random models of every shape of ONNX export that the import must understand: test/golden/exports/<variant>/.

Each folder holds model.onnx (as the exporter wrote it), config.json, golden.json (prompt, shape, provenance) and
logits.bin: float32 [tokens, vocab], all rows of the prompt, computed by transformers, not by the export.

    python test/oracle/exports.py [variant ...]
"""

import argparse
import json
import shutil
import zlib
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
import transformers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from common import GOLDEN, write_f32, write_json
from onnx_export import ExportedForward, ExportOptions, example_inputs, export, run, store_as_f16, store_external

PROMPT_LENGTH = 20
VOCAB = 56
TOLERANCE = 2e-4  # of the exported graph in ONNX Runtime against torch


@dataclass(frozen=True)
class Variant:
    family: str
    attention: str  # transformers' attn_implementation while exporting
    options: ExportOptions
    config: dict = field(default_factory=dict)
    storage: tuple = ()  # "f16", "external"
    old_config: bool = False  # config.json with transformers 4 keys (rope_theta, rope_scaling, rotary_pct)


def dynamo(opset: int, **options) -> ExportOptions:
    return ExportOptions("dynamo", opset, **options)


def script(opset: int, **options) -> ExportOptions:
    return ExportOptions("script", opset, **options)


PLAIN = {"num_attention_heads": 3, "num_key_value_heads": 3}  # head_dim 8 = hidden / heads
GQA3 = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8}  # head_dim != hidden / heads
GQA3_ONE = {"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 16}  # one KV head for all
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
BIASES = {"attention_bias": True, "mlp_bias": True}
TIED = {"tie_word_embeddings": True}
SERIAL = {"use_parallel_residual": False}
QUARTER_ROTARY = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}}
NO_CACHE = {"past": False, "positions": False}

VARIANTS = {
    "llama-script-sdpa-14": Variant("llama", "sdpa", script(14), PLAIN),
    "llama-script-eager-17": Variant("llama", "eager", script(17), GQA3),
    "llama-dynamo-sdpa-18": Variant("llama", "sdpa", dynamo(18), GQA3),
    "llama-dynamo-eager-20": Variant("llama", "eager", dynamo(20), PLAIN | TIED),
    "llama-dynamo-sdpa-20-one-kv-head": Variant("llama", "sdpa", dynamo(20), GQA3_ONE),
    "llama-dynamo-sdpa-23": Variant("llama", "sdpa", dynamo(23), GQA3),
    "llama-dynamo-eager-23": Variant("llama", "eager", dynamo(23), PLAIN),
    "llama-dynamo-sdpa-18-no-past": Variant("llama", "sdpa", dynamo(18, **NO_CACHE), GQA3),
    "llama-dynamo-sdpa-18-ids-only": Variant("llama", "sdpa", dynamo(18, mask=False, **NO_CACHE), GQA3),
    "llama-script-eager-17-no-past": Variant("llama", "eager", script(17, **NO_CACHE), PLAIN),
    "llama-script-sdpa-14-no-positions": Variant("llama", "sdpa", script(14, positions=False), PLAIN | TIED),
    "llama-dynamo-sdpa-20-llama3-rope": Variant("llama", "sdpa", dynamo(20), GQA3 | {"rope_parameters": LLAMA3}),
    "llama-script-sdpa-17-linear-rope": Variant(
        "llama", "sdpa", script(17), PLAIN | {"rope_parameters": LINEAR}, old_config=True),
    "llama-dynamo-sdpa-18-bias": Variant("llama", "sdpa", dynamo(18), GQA3 | BIASES),
    "llama-dynamo-sdpa-20-f16": Variant("llama", "sdpa", dynamo(20), GQA3 | TIED, ("f16",)),
    "neox-script-eager-17-serial": Variant("gpt_neox", "eager", script(17), SERIAL, old_config=True),
    "neox-dynamo-sdpa-18": Variant("gpt_neox", "sdpa", dynamo(18)),
    "neox-dynamo-eager-20-serial": Variant("gpt_neox", "eager", dynamo(20), SERIAL | QUARTER_ROTARY),
    "neox-dynamo-sdpa-23": Variant("gpt_neox", "sdpa", dynamo(23), TIED),
    "neox-script-sdpa-18-f16-external": Variant("gpt_neox", "sdpa", script(18), {}, ("f16", "external")),
}


def make_model(variant: Variant, seed: int):
    common = {"vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 2, "max_position_embeddings": 128,
              "bos_token_id": 0, "eos_token_id": 0, "attn_implementation": variant.attention}
    torch.manual_seed(seed)
    if variant.family == "llama":
        rope = {"rope_type": "default", "rope_theta": 10000.0}
        settings = common | {"intermediate_size": 20, "rope_parameters": rope, "tie_word_embeddings": False}
        model = LlamaForCausalLM(LlamaConfig(**(settings | variant.config)))
    else:
        rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
        settings = common | {"intermediate_size": 40, "num_attention_heads": 3, "rope_parameters": rope,
                             "use_parallel_residual": True, "tie_word_embeddings": False}
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**(settings | variant.config)))
    randomise(model)
    if "f16" in variant.storage:
        model.half().float()  # the weights as they will be stored
    return model.eval()


def randomise(model) -> None:
    """Weights large enough that every part matters: peaked attention, norms and biases away from 1 and 0."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.3)
            elif name.endswith("bias"):
                weight.normal_(0, 0.3)
            else:
                weight.uniform_(0.5, 1.5)


def config_json(model, variant: Variant) -> dict:
    config = json.loads(model.config.to_json_string(use_diff=False))
    config = {key: value for key, value in config.items() if not key.startswith("_") and value is not None}
    if variant.old_config:  # as transformers 4 wrote it
        rope = config.pop("rope_parameters")
        if variant.family == "gpt_neox":
            config |= {"rotary_pct": rope["partial_rotary_factor"], "rotary_emb_base": rope["rope_theta"]}
        else:
            config["rope_theta"] = rope["rope_theta"]
        scaled = rope["rope_type"] != "default"
        config["rope_scaling"] = {"type": rope["rope_type"], "factor": rope["factor"]} if scaled else None
        config["transformers_version"] = "4.40.0"
    return config


def check(path, model, variant: Variant) -> float:
    """Largest difference of logits, ONNX Runtime against torch, over prefill, decode and batches."""
    worst = 0.0
    forward = ExportedForward(model, variant.options)
    for batch, length, past in ((1, PROMPT_LENGTH, 0), (2, 7, 0), (1, 1, 17), (3, 4, 9)):
        inputs = example_inputs(model, variant.options, batch, length, past if variant.options.past else 0)
        with torch.no_grad():
            expected = forward(*inputs.values())
        expected = expected[0] if variant.options.past else expected
        worst = max(worst, float(np.abs(run(path, inputs)["logits"] - expected.numpy()).max()))
    return worst


def generate(name: str, variant: Variant, seed: int) -> None:
    folder = GOLDEN / "exports" / (name + ".new")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    model = make_model(variant, seed)
    prompt = torch.randint(0, VOCAB, (1, PROMPT_LENGTH), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        logits = model(prompt).logits[0]
    export(model, variant.options, path)
    if "f16" in variant.storage:
        store_as_f16(path)
    if "external" in variant.storage:
        store_external(path)
    difference = check(path, model, variant)
    if not difference <= TOLERANCE:
        raise SystemExit(f"{name}: the export differs from torch by {difference}")
    write_json(folder / "config.json", config_json(model, variant))
    write_f32(folder / "logits.bin", logits)
    options = variant.options
    write_json(folder / "golden.json", {
        "family": variant.family, "exporter": options.exporter, "attention": variant.attention,
        "opset": options.opset, "past": options.past, "storage": list(variant.storage), "seed": seed,
        "prompt": prompt[0].tolist(), "shape": list(logits.shape),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "onnx": onnx.__version__},
    })
    for item in folder.iterdir():
        item.chmod(0o644)
    shutil.rmtree(GOLDEN / "exports" / name, ignore_errors=True)
    folder = folder.rename(GOLDEN / "exports" / name)
    nodes = len(onnx.load(folder / path.name).graph.node)
    size = sum(item.stat().st_size for item in folder.iterdir())
    print(f"{name}: {nodes} nodes, {size} bytes, |ort - torch| {difference:.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help="default: all")
    chosen = parser.parse_args().variants or list(VARIANTS)
    for name in chosen:
        generate(name, VARIANTS[name], seed=zlib.crc32(name.encode()))


if __name__ == "__main__":
    main()
