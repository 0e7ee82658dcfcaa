"""ONNX exports of every golden checkpoint, without their weights: test/golden/parity/VARIANT.EXPORTER.onnx.gz.

The graphs are as the exporters wrote them, but that each weight is left out whose values are a checkpoint's tensor, as it is or
transposed: the metadata "weights" of a file says which one belongs into which initializer. checkpoints.py comes first.

    python test/oracle/parity_exports.py [--exporter E] [variant ...]

"optimum" is Hugging Face optimum's, which needs an environment of its own: requirements-optimum.txt. "optimum-2023" and
"optimum-2024" are its releases 1.13 and 1.17, of September 2023 and February 2024, when many of the exports on the hub were made:
requirements-optimum-2023.txt and -2024.txt, an environment each. The former makes decoder_model_merged.onnx: two graphs in an If.
"""

import argparse
import functools
import gzip
import json
import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from common import GOLDEN
from onnx_export import ExportOptions, export, run

CHECKPOINTS = GOLDEN / "checkpoints"
FOLDER = GOLDEN / "parity"
TOLERANCE = 2e-4  # of the export in ONNX Runtime against the golden logits
SMALL = 512  # bytes of a tensor that may stay in the graph when no checkpoint has it
BEYOND = ("-beyond", "dynamic-rope_type")  # variants whose frequencies go by the length
INDEX = json.loads((CHECKPOINTS / "index.json").read_text())

# attention and opset, in turn over the variants
WAYS = {
    "dynamo": [("sdpa", 18), ("eager", 20), ("sdpa", 23), ("eager", 23), ("sdpa", 21)],
    "script": [("eager", 11), ("sdpa", 14), ("eager", 13), ("sdpa", 17), ("eager", 16), ("sdpa", 20), ("eager", 12)],
    "optimum": [("", 18), ("", 14), ("", 16), ("", 17), ("", 15)],
    "optimum-2023": [("", 13), ("", 16), ("", 14), ("", 17), ("", 15)],
    "optimum-2024": [("", 14), ("", 17), ("", 15), ("", 16)],
}

# Of the old releases' exports, which hold tables of cosines and sines, a few.
DEFAULT = {
    "optimum-2023": ["gpt_neox", "gpt_neox-linear", "llama-alone", "llama-alone-linear"],
    "optimum-2024": ["llama", "llama-dynamic-inside", "llama-dynamic-beyond", "mistral-no-window", "gpt_neox-serial",
                     "gpt_neox-unbiased"],
}


def golden_logits(variant: dict) -> np.ndarray:
    rows = np.fromfile(CHECKPOINTS / "logits.bin", dtype="<f4")
    size = len(variant["rows"]) * INDEX["vocab"]
    return rows[variant["offset"]:variant["offset"] + size].reshape(-1, INDEX["vocab"])


def write_checkpoint(folder: Path, variant: dict) -> dict:
    """The variant as it would lie on a disk; its tensors."""
    config, family = dict(variant["config"]), variant["config"]["model_type"]
    if family == "gemma":  # as newer files of Gemma say it; transformers 4 takes "gelu" to be the exact one
        config["hidden_act"] = "gelu_pytorch_tanh"
    (folder / "config.json").write_text(json.dumps(config))
    state = {}
    for file in variant["files"]:
        if file.endswith(".json"):
            shutil.copyfile(CHECKPOINTS / file, folder / "model.safetensors.index.json")
            continue
        whole = len(variant["files"]) == 1
        tensors = load_file(CHECKPOINTS / file)
        state |= tensors
        if family == "gpt_neox" and version("transformers").startswith("4."):  # the output layer's old name
            tensors = {name.replace("lm_head", "embed_out"): tensor for name, tensor in tensors.items()}
        save_file(tensors, folder / ("model.safetensors" if whole else file), metadata={"format": "pt"})
    return {name: tensor.float().numpy() for name, tensor in state.items()}


def leave_out_weights(model: onnx.ModelProto, state: dict) -> None:
    """Empties the initializers that are tensors of the checkpoint and notes which; fails for other large ones."""
    by_bytes = {}
    for name, tensor in state.items():
        if tensor.ndim == 2:
            by_bytes[(tensor.T.shape, np.ascontiguousarray(tensor.T).tobytes())] = {"tensor": name, "transposed": True}
    for name, tensor in state.items():
        by_bytes[(tensor.shape, tensor.tobytes())] = {"tensor": name, "transposed": False}
    weights = {}
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        known = by_bytes.get((values.shape, values.tobytes())) if tensor.data_type == TensorProto.FLOAT else None
        if known and values.ndim > 0:
            weights[tensor.name] = known
            for field in ("raw_data", "float_data"):
                tensor.ClearField(field)
        elif values.nbytes > SMALL:
            print(f"  kept: {tensor.name} {values.dtype}{list(values.shape)}")
    del model.graph.value_info[:]
    model.metadata_props.add(key="weights", value=json.dumps(weights))


def check(path: Path, variant: dict) -> float:
    """Largest difference from the golden logits, relative to the largest of them."""
    expected = golden_logits(variant)
    tokens = variant["tokens"]
    inputs = {
        "input_ids": np.array([INDEX["ids"][:tokens]]), "attention_mask": np.ones((1, tokens), np.int64),
        "position_ids": np.arange(tokens)[None], "use_cache_branch": np.array([False]),
    }
    for tensor in onnx.load(path).graph.input:
        if tensor.name.startswith("past_key_values"):
            heads, size = (tensor.type.tensor_type.shape.dim[axis].dim_value for axis in (1, 3))
            inputs[tensor.name] = np.zeros((1, heads, 0, size), np.float32)
    logits = run(path, inputs)["logits"][0][variant["rows"]]
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


def export_with_optimum(source: Path, opset: int, path: Path) -> None:
    from optimum.exporters.onnx import main_export

    options = {} if version("optimum") < "1.14" else {"library_name": "transformers"}
    trace = torch.onnx.export
    torch.onnx.export = functools.partial(trace, dynamo=False)  # there was one exporter only, now it is not the default
    try:
        with tempfile.TemporaryDirectory() as work:
            main_export(str(source), work, task="text-generation-with-past", opset=opset, do_validation=False, **options)
            merged = Path(work, "decoder_model_merged.onnx")
            shutil.copyfile(merged if merged.exists() else Path(work, "model.onnx"), path)
    finally:
        torch.onnx.export = trace


def generate(variant: dict, exporter: str, attention: str, opset: int) -> None:
    with tempfile.TemporaryDirectory() as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source, path = Path(work, "source"), Path(work, "model.onnx")
        source.mkdir()
        state = write_checkpoint(source, variant)
        if exporter.startswith("optimum"):
            export_with_optimum(source, opset, path)
        else:
            model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation=attention).eval()
            # Beyond the original context the frequencies are those of the whole text, as they are in the golden logits.
            past = variant["tokens"] - 3 if variant["name"].endswith(BEYOND) else 5
            export(model, ExportOptions(exporter, opset), path, past)
        difference = check(path, variant)
        stored = onnx.load(path)
        leave_out_weights(stored, state)
        made_by = {"exporter": exporter, "attention": attention, "opset": opset, "difference": f"{difference:.1e}",
                   "torch": torch.__version__, "transformers": version("transformers")}
        stored.metadata_props.add(key="made by", value=json.dumps(made_by))
        packed = gzip.compress(stored.SerializeToString(deterministic=True), 9, mtime=0)
        target = FOLDER / f"{variant['name']}.{exporter}.onnx.gz"
        target.unlink(missing_ok=True)
        if difference <= TOLERANCE:
            target.write_bytes(packed)
    verdict = "" if difference <= TOLERANCE else "   left out: not the model's logits"
    print(f"{variant['name']}.{exporter}: {attention} {opset}, {len(stored.graph.node)} nodes, {len(packed)} bytes, "
          f"{difference:.1e}{verdict}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exporter", choices=list(WAYS), default="dynamo")
    parser.add_argument("variants", nargs="*", help="default: all, a few with old releases")
    options = parser.parse_args()
    chosen = options.variants or DEFAULT.get(options.exporter)
    FOLDER.mkdir(parents=True, exist_ok=True)
    ways = WAYS[options.exporter]
    for index, variant in enumerate(INDEX["variants"]):
        if chosen and variant["name"] not in chosen:
            continue
        try:
            generate(variant, options.exporter, *ways[index % len(ways)])
        except Exception as error:
            print(f"{variant['name']}.{options.exporter}: {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)


if __name__ == "__main__":
    main()
