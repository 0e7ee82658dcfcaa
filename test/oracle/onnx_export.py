"""Exports a causal LM of Hugging Face transformers the way optimum does: past_key_values in, present out."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import PreTrainedModel


@dataclass(frozen=True)
class ExportOptions:
    exporter: str  # "dynamo": torch.export based; "script": the TorchScript tracer
    opset: int
    past: bool = True  # past_key_values.N.key/value inputs and present.N.key/value outputs
    mask: bool = True  # an attention_mask input
    positions: bool = True  # a position_ids input


class ExportedForward(torch.nn.Module):
    """Positional tensors in, (logits, present keys and values...) out, which is what exporters can trace."""

    def __init__(self, model: PreTrainedModel, options: ExportOptions):
        super().__init__()
        self.model = model
        self.options = options

    def forward(self, input_ids, *rest):
        if len(rest) == 1 and isinstance(rest[0], (list, tuple)):  # torch.export passes varargs as one tuple
            rest = rest[0]
        rest = list(rest)
        mask = rest.pop(0) if self.options.mask else None
        positions = rest.pop(0) if self.options.positions else None
        if not self.options.past:
            return self.model(input_ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer in range(self.model.config.num_hidden_layers):
            cache.update(rest[2 * layer], rest[2 * layer + 1], layer)
        out = self.model(input_ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
        present = [tensor for layer in out.past_key_values.layers for tensor in (layer.keys, layer.values)]
        return (out.logits, *present)


def example_inputs(model: PreTrainedModel, options: ExportOptions, batch: int, length: int, past: int) -> dict:
    """Named inputs in the graph's order. Past keys and values are random: only shapes matter to an exporter."""
    config = model.config
    generator = torch.Generator().manual_seed(batch + length + past)
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    inputs = {"input_ids": torch.randint(0, config.vocab_size, (batch, length), generator=generator)}
    if options.mask:
        inputs["attention_mask"] = torch.ones(batch, past + length, dtype=torch.long)
    if options.positions:
        inputs["position_ids"] = torch.arange(past, past + length)[None].expand(batch, -1).contiguous()
    if options.past:
        for layer in range(config.num_hidden_layers):
            for part in ("key", "value"):
                shape = (batch, kv_heads, past, head_dim)
                inputs[f"past_key_values.{layer}.{part}"] = torch.randn(shape, generator=generator)
    return inputs


def export(model: PreTrainedModel, options: ExportOptions, path: Path, past: int = 5) -> None:
    """`past`: cached positions of the example that exporters trace; rope that goes by the length is fixed for it."""
    inputs = example_inputs(model, options, batch=2, length=3, past=past if options.past else 0)
    names = list(inputs)
    outputs = ["logits"]
    if options.past:
        outputs += [name.replace("past_key_values", "present") for name in names if name.startswith("past")]
    module = ExportedForward(model, options).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if options.exporter == "dynamo":
            auto = torch.export.Dim.DYNAMIC
            dims = [{0: auto, 2: auto} if name.startswith("past") else {0: auto, 1: auto} for name in names]
            shapes = (dims[0], tuple(dims[1:])) if dims[1:] else (dims[0],)
            program = torch.onnx.export(
                module, tuple(inputs.values()), dynamo=True, input_names=names, output_names=outputs,
                dynamic_shapes=shapes, opset_version=options.opset, external_data=False,
            )
            program.save(str(path))
            strip_traces(path)
        else:
            axes = {"input_ids": {0: "batch", 1: "length"}, "logits": {0: "batch", 1: "length"}}
            axes |= {name: {0: "batch", 1: "total" if options.past else "length"} for name in names if "mask" in name}
            axes |= {name: {0: "batch", 1: "length"} for name in names if name == "position_ids"}
            axes |= {name: {0: "batch", 2: "past"} for name in names if name.startswith("past")}
            axes |= {name: {0: "batch", 2: "total"} for name in outputs[1:]}
            torch.onnx.export(
                module, tuple(inputs.values()), str(path), dynamo=False, input_names=names, output_names=outputs,
                dynamic_axes=axes, opset_version=options.opset, do_constant_folding=True,
            )


def strip_traces(path: Path) -> None:
    """The dynamo exporter writes a Python stack trace at every node: most of a small file, none of its meaning."""
    model = onnx.load(path)
    for item in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info,
                 *model.graph.initializer]:
        del item.metadata_props[:]
    onnx.save(model, path)


def store_as_f16(path: Path, least: int = 64) -> None:
    """Stores float32 initializers of `least` elements or more as float16 behind a Cast; arithmetic stays float32."""
    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= least:
            name = tensor.name
            half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name + "_f16")
            tensor.CopyFrom(half)
            casts.append(helper.make_node("Cast", [half.name], [name], name=name + "_cast", to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
    onnx.save(model, path)


def store_external(path: Path, least_bytes: int = 128) -> None:
    """Moves the weights to `<name>_data` beside the graph, as optimum names it."""
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location=path.name + "_data", size_threshold=least_bytes)


def run(path: Path, inputs: dict) -> dict:
    """Runs the file in ONNX Runtime on numpy or torch inputs: outputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    known = {item.name for item in session.get_inputs()}  # an exporter drops inputs that it found unused
    feeds = {name: np.asarray(value) for name, value in inputs.items() if name in known}
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, feeds)))
