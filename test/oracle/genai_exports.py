"""Small random models as onnxruntime-genai's own model builder exports them: test/golden/genai/<variant>/.

Each folder holds what the builder leaves (genai_config.json, model.onnx, model.onnx.data, the tokenizer), golden.json (prompt,
shape, provenance) and logits.bin: float32 [tokens, vocab], all rows of the prompt. They are computed by transformers where
the weights are float32; where they are float16 or quantised, by ONNX Runtime on the builder's unmodified file. Needs
requirements-genai.txt.

    python test/oracle/genai_exports.py [variant ...]
"""

import argparse
import contextlib
import io
import shutil
import tempfile
import zlib
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import torch
import transformers
from onnxruntime_genai.models import builder
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common import GOLDEN, write_f32, write_json
from exports import randomise
from onnx_export import run

VOCAB = 56  # no other dimension: the builder knows the head by it
CONTEXT = 128
PROMPT_LENGTH = 48
TOLERANCE = 2e-4  # of the exported graph in ONNX Runtime against torch, in float32

COMMON = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": CONTEXT, "bos_token_id": 0, "eos_token_id": 1,
          "pad_token_id": 1, "tie_word_embeddings": False}
ONE_GROUP = {"num_attention_heads": 2, "num_key_value_heads": 1}
WINDOWS = {"sliding_window": 24, "use_sliding_window": True, "max_window_layers": 1,
           "layer_types": ["full_attention", "sliding_attention"]}
LONGROPE = {"rope_type": "longrope", "type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 32,
            "short_factor": [1.0 + 0.1 * i for i in range(8)], "long_factor": [1.5 + 0.5 * i for i in range(8)]}


@dataclass(frozen=True)
class Variant:
    architecture: str  # of transformers: <architecture>Config, <architecture>ForCausalLM
    precision: str = "fp32"
    config: dict = field(default_factory=dict)
    options: tuple = ()  # of the builder
    without: tuple = ()  # what the builder is to believe that the provider cannot do, as others and float16 cannot
    generation: dict = field(default_factory=dict)  # generation_config.json
    lengths: tuple = (PROMPT_LENGTH,)  # of the prompt; logits.bin is for the first one


VARIANTS = {
    "llama-fp32": Variant("Llama", config={"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
                          generation={"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [1, 2]}),
    "llama-int4": Variant("Llama", "int4"),
    "llama-int4-last": Variant("Llama", "int4", {"num_hidden_layers": 1}, options=("prune_lm_head=true",)),
    "qwen2-int4-tied": Variant(
        "Qwen2", "int4", ONE_GROUP | {"tie_word_embeddings": True, "num_hidden_layers": 1}, options=("fuse_qkv=false",)),
    "qwen2-fp32-windows": Variant("Qwen2", config=ONE_GROUP | WINDOWS),
    "qwen3-fp32": Variant("Qwen3"),
    "qwen3-int4": Variant("Qwen3", "int4", ONE_GROUP),
    "phi3-fp32-longrope": Variant(
        "Phi3", config=ONE_GROUP | {"original_max_position_embeddings": 32, "rope_parameters": LONGROPE},
        lengths=(PROMPT_LENGTH, 30)),
    "mistral-int4-window": Variant(
        "Mistral", "int4", ONE_GROUP | {"sliding_window": 24, "layer_types": ["sliding_attention"] * 2},
        options=("windowed_kv_cache=false",)),
    # The builder rounds the scale of Gemma's embeddings to two digits, so it is a whole number here.
    "gemma-fp32": Variant("Gemma", config=ONE_GROUP | {"hidden_size": 16, "tie_word_embeddings": True}),
    "llama-fp32-multihead": Variant("Llama", config={"num_hidden_layers": 1}, without=("gqa", "packed_attn")),  # KV heads repeated, rope apart
    "qwen3-fp32-rotary": Variant("Qwen3", config=ONE_GROUP, without=("fused_rope",)),
    "phi3-fp32-partial": Variant(
        "Phi3", config=ONE_GROUP | {"original_max_position_embeddings": CONTEXT, "num_key_value_heads": 2,
                                    "num_hidden_layers": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
                                                        "partial_rotary_factor": 0.5}},
        without=("gqa", "packed_attn")),
    "ernie-fp32": Variant("Ernie4_5", config=ONE_GROUP),  # rope turns neighbours
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Characters as tokens, with a template that a chat can be written in."""
    characters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("ABCDEFGHIJKLMNOPQRST.,:?!")
    vocabulary = {token: index for index, token in enumerate(["<s>", "</s>", "<|end|>", "▁", *characters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>",
                                   additional_special_tokens=["<|end|>"])
    fast.chat_template = (
        "{% for message in messages %}{{ message.role }}: {{ message.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}")
    return fast


def make_model(variant: Variant, seed: int):
    config = getattr(transformers, variant.architecture + "Config")(**(COMMON | variant.config))
    torch.manual_seed(seed)
    model = getattr(transformers, variant.architecture + "ForCausalLM")(config)
    randomise(model)
    if variant.architecture == "Gemma":  # stores its norms less 1
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "norm" in name:
                    weight -= 1
    for key, value in variant.generation.items():
        setattr(model.generation_config, key, value)
    return model.eval()


def build(model, variant: Variant, folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        for ability in variant.without:
            stack.enter_context(mock.patch.object(builder.Model, f"is_{ability}_supported", lambda self: False))
        model.save_pretrained(work + "/hf")
        make_tokenizer().save_pretrained(work + "/hf")
        places = (None, work + "/hf", str(folder), variant.precision, "cpu", work + "/cache")
        options = builder.parse_extra_options(*places, list(variant.options))
        builder.create_model(*places, **options)


def run_exported(folder: Path, model, prompt: np.ndarray, options: tuple) -> np.ndarray:
    """
    [tokens, vocab] of the file: all but two tokens at once, then one, then one more behind a cache. The file is unmodified but
    for the attribute by which a window's layers keep no more than the window: it is about the cache alone.
    """
    path = folder / "model.onnx"
    graph = onnx.load(path, load_external_data=False)
    rings = [(node, item) for node in graph.graph.node for item in node.attribute if item.name == "sliding_window_cache"]
    if rings:
        for node, item in rings:
            node.attribute.remove(item)
        path = folder / "whole-cache.onnx"
        onnx.save(graph, path)
    config = model.config
    shape = (1, config.num_key_value_heads, 0, config.head_dim)
    dtype = np.float16 if "fp16" in folder.name else np.float32
    cache = {f"past_key_values.{layer}.{part}": np.zeros(shape, dtype)
             for layer in range(config.num_hidden_layers) for part in ("key", "value")}
    rows = []
    steps = [0, prompt.shape[1] - 2, prompt.shape[1] - 1, prompt.shape[1]]
    if "prune_lm_head=true" in options:  # the last token's logits alone
        steps = list(range(prompt.shape[1] + 1))
    for start, end in zip(steps, steps[1:]):
        inputs = {"input_ids": prompt[:, start:end], "attention_mask": np.ones((1, end), np.int64),
                  "position_ids": np.arange(start, end)[None]}
        out = run(path, inputs | cache)
        rows.append(out["logits"][0])
        cache = {name: out[name.replace("past_key_values", "present")] for name in cache}
    if rings:
        path.unlink()
    return np.concatenate(rows)


def generate(name: str, variant: Variant, seed: int) -> None:
    folder = GOLDEN / "genai" / name
    shutil.rmtree(folder, ignore_errors=True)
    model = make_model(variant, seed)
    build(model, variant, folder)
    prompt = torch.randint(0, VOCAB, (1, PROMPT_LENGTH), generator=torch.Generator().manual_seed(seed))
    found = []
    for index, length in enumerate(variant.lengths):
        ids = prompt[:, :length]
        exported = run_exported(folder, model, ids.numpy(), variant.options)
        logits = exported
        if variant.precision == "fp32":
            with torch.no_grad():
                logits = model(ids).logits[0].numpy()
            found.append(float(np.abs(exported - logits).max()))
            if not found[-1] <= TOLERANCE:
                raise SystemExit(f"{name}: the export differs from torch by {found[-1]} on {length} tokens")
        write_f32(folder / ("logits.bin" if index == 0 else f"logits-{length}.bin"), logits)
    packages = ("torch", "transformers", "onnxruntime-genai", "onnxruntime")
    write_json(folder / "golden.json", {
        "family": model.config.model_type, "exporter": "onnxruntime-genai", "precision": variant.precision,
        "options": list(variant.options), "without": list(variant.without), "seed": seed, "prompt": prompt[0].tolist(), "lengths": list(variant.lengths),
        "shape": [PROMPT_LENGTH, VOCAB], "versions": {package: version(package) for package in packages},
    })
    size = sum(item.stat().st_size for item in folder.iterdir())
    print(f"{name}: {size} bytes, |ort - torch| {', '.join(f'{each:.1e}' for each in found) or 'not compared'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help="default: all")
    for name in parser.parse_args().variants or list(VARIANTS):
        generate(name, VARIANTS[name], seed=zlib.crc32(name.encode()))


if __name__ == "__main__":
    main()
