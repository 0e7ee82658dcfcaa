"""Small exports in the forms that the hub keeps beside model.onnx: test/golden/quantised/<variant>/.

Each is an ordinary export (exports.py) put through onnxruntime's own tools, with the settings that transformers.js' conversion
script uses. Goldens are ONNX Runtime's logits on the file as it is: logits.bin for the prompt in one run, and steps.bin for one
token a run where activations are quantised by the largest of a whole run, so that the two differ.

    python test/oracle/quantised_exports.py [variant ...]        needs sympy beside requirements.txt
"""

import argparse
import shutil
import tempfile
import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType, quant_pre_process, quantize_dynamic,
                                      quantize_static)
from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.transformers.float16 import convert_float_to_float16
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from common import GOLDEN, write_f32, write_json
from exports import Variant, config_json, randomise
from onnx_export import ExportOptions, export, example_inputs, run

PROMPT_LENGTH = 20
OPTIONS = ExportOptions("dynamo", 18)
SCRIPT, LATER = ExportOptions("script", 17), ExportOptions("dynamo", 21)
COMMON = {"vocab_size": 56, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
          "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False,
          "attn_implementation": "sdpa"}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# Products of 48 inputs are one and a half blocks of 32.
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(
        **COMMON, intermediate_size=48, num_key_value_heads=2, rope_parameters=ROPE)),
    "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(
        **COMMON, intermediate_size=48, rope_parameters=ROPE | {"partial_rotary_factor": 0.5})),
}


def nbits(block_size=32, symmetric=True, **settings):
    def quantise(path: Path) -> None:
        quantizer = MatMulNBitsQuantizer(str(path), block_size=block_size, is_symmetric=symmetric, **settings)
        quantizer.process()
        onnx.save(quantizer.model.model, path)
    return quantise


def bnb4(path: Path) -> None:
    quantizer = MatMulBnb4Quantizer(onnx.load(path), quant_type=MatMulBnb4Quantizer.NF4, block_size=64)
    quantizer.process()
    onnx.save(quantizer.model.model, path)


def dynamic(weight_type: QuantType, **settings):
    def quantise(path: Path) -> None:
        quantize_dynamic(path, path, weight_type=weight_type, extra_options={"EnableSubgraph": True}, **settings)
    return quantise


def static(path: Path) -> None:
    """QuantizeLinear and DequantizeLinear around the products with constant weights."""
    class Prompts(CalibrationDataReader):
        def __init__(self):
            self.prompts = iter(range(8))

        def get_next(self):
            seed = next(self.prompts, None)
            if seed is None:
                return None
            ids = np.random.default_rng(seed).integers(0, 56, (1, PROMPT_LENGTH))
            return feeds(path, ids, 0, {})

    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    linears = [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in constants]
    quantize_static(path, path, Prompts(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["MatMul"],
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
                    nodes_to_quantize=linears)


def half(**settings):
    def convert(path: Path) -> None:
        onnx.save(convert_float_to_float16(onnx.load(path), **settings), path)
    return convert


def stored_in_one(path: Path) -> None:
    """Weights in one file beside the graph."""
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location=path.name + "_data", size_threshold=128)


ALL_F16 = half(keep_io_types=False)
VARIANTS = {
    "llama-q4": ("llama", [nbits()]),
    "llama-q4-asymmetric-int8": ("llama", [nbits(symmetric=False, accuracy_level=4)]),
    "llama-q4f16": ("llama", [nbits(symmetric=False), ALL_F16]),
    "llama-q4-gather": ("llama", [nbits(block_size=16, op_types_to_quantize=("MatMul", "Gather"),
                                        quant_axes=(("MatMul", 0), ("Gather", 1)))], LATER),
    "llama-q4-qdq": ("llama", [nbits(symmetric=False, quant_format=QuantFormat.QDQ)], LATER),
    "llama-int8": ("llama", [dynamic(QuantType.QInt8, per_channel=True)]),
    "llama-uint8": ("llama", [dynamic(QuantType.QUInt8)], SCRIPT),
    "llama-int8-static": ("llama", [static]),
    "llama-f16": ("llama", [ALL_F16], SCRIPT),
    "llama-f16-f32-io": ("llama", [half(keep_io_types=True), stored_in_one]),
    "llama-bnb4": ("llama", [bnb4]),
    "neox-q4": ("neox", [nbits(symmetric=False)]),
    "neox-uint8": ("neox", [dynamic(QuantType.QUInt8)]),
    "neox-f16": ("neox", [ALL_F16]),
}
CACHES = [f"{layer}.{part}" for layer in range(2) for part in ("key", "value")]


def feeds(path: Path, ids: np.ndarray, past: int, caches: dict) -> dict:
    """Inputs for new tokens behind `past` cached ones, of the types that the file wants."""
    graph = onnx.load(path, load_external_data=False).graph
    types = {item.name: item.type.tensor_type for item in graph.input}
    inputs = {"input_ids": ids, "attention_mask": np.ones((1, past + ids.shape[1]), np.int64),
              "position_ids": np.arange(past, past + ids.shape[1])[None]}
    for name in CACHES:
        kind = types[f"past_key_values.{name}"]
        dims = [dim.dim_value for dim in kind.shape.dim]
        empty = np.zeros((1, dims[1], 0, dims[3]), onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        inputs[f"past_key_values.{name}"] = caches.get(name, empty)
    return {name: value for name, value in inputs.items() if name in types}


def stepwise(path: Path, ids: np.ndarray) -> np.ndarray:
    rows, caches = [], {}
    for position in range(ids.shape[1]):
        outputs = run(path, feeds(path, ids[:, position:position + 1], position, caches))
        rows.append(outputs["logits"][0].astype(np.float32))
        caches = {name: outputs[f"present.{name}"] for name in CACHES}
    return np.concatenate(rows)


def generate(name: str) -> None:
    family, steps, options = (*VARIANTS[name], OPTIONS)[:3]
    seed = zlib.crc32(family.encode())
    torch.manual_seed(seed)
    model = FAMILIES[family]().eval()
    randomise(model)
    ids = torch.randint(0, 56, (1, PROMPT_LENGTH), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        original = model(ids).logits[0].numpy()
    with tempfile.TemporaryDirectory() as work:
        path = Path(work, "model.onnx")
        export(model, options, path)
        quant_pre_process(path, path, skip_symbolic_shape=True, skip_optimization=True)
        for step in steps:
            step(path)
        logits = run(path, feeds(path, ids.numpy(), 0, {}))["logits"][0].astype(np.float32)
        folder = GOLDEN / "quantised" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in sorted(Path(work).iterdir()):
            if file.name.startswith("model.onnx"):
                shutil.copyfile(file, folder / file.name)
        write_f32(folder / "logits.bin", logits)
        each = stepwise(path, ids.numpy())
        dynamic_activations = any(node.op_type == "DynamicQuantizeLinear" for node in onnx.load(path).graph.node)
        if dynamic_activations:
            write_f32(folder / "steps.bin", each)
    rms = lambda values: float(np.sqrt(np.mean(np.square(values))))
    write_json(folder / "config.json", config_json(model, Variant(family, "sdpa", options)))
    write_json(folder / "golden.json", {
        "prompt": ids[0].tolist(), "shape": list(logits.shape), "seed": seed,
        "from_torch": rms(logits - original) / rms(original), "from_steps": rms(logits - each) / rms(original),
        "versions": {package: version(package) for package in ("torch", "transformers", "onnx", "onnxruntime")},
    })
    size = sum(item.stat().st_size for item in folder.iterdir())
    print(f"{name}: {size} bytes, from torch {rms(logits - original) / rms(original):.1e}, steps from the prompt at once "
          f"{rms(logits - each) / rms(original):.1e} of the root mean square", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help="default: all")
    for name in parser.parse_args().variants or VARIANTS:
        generate(name)


if __name__ == "__main__":
    main()
