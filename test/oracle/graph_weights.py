"""Puts the weights of a built-in model.onnx into the transformers model that it was exported from."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from transformers import AutoConfig, AutoModelForCausalLM


def load_graph_weights(folder: Path):
    """A float32 model with the graph's weights.

    Exporters keep the names of most parameters, behind a prefix, but rename the transposed weights of linear layers.
    Those are matched in order: the graph's MatMuls are in the order of the modules. A wrong match cannot stay unseen,
    since the caller compares the logits of both.
    """
    graph = onnx.load(folder / "model.onnx").graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    origin = {}  # Cast and Identity outputs -> the initializer they come from
    for node in graph.node:
        if node.op_type in ("Cast", "Identity") and origin.get(node.input[0], node.input[0]) in stored:
            origin[node.output[0]] = origin.get(node.input[0], node.input[0])

    def tensor(name: str) -> torch.Tensor:
        array = numpy_helper.to_array(stored[origin.get(name, name)])
        return torch.from_numpy(array.astype(np.float32))

    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32).eval()
    names = {name.removeprefix("model."): name for name in [*stored, *origin]}
    unnamed = [
        node.input[1]
        for node in graph.node
        if node.op_type == "MatMul"
        and origin.get(node.input[1], node.input[1]) in stored
        and node.input[1].removeprefix("model.") not in dict(model.named_parameters(remove_duplicate=False))
    ]
    with torch.no_grad():
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if name in names:
                parameter.copy_(tensor(names[name]))
        for name, module in model.named_modules():
            tied = model.config.tie_word_embeddings and module is model.get_output_embeddings()
            if isinstance(module, torch.nn.Linear) and f"{name}.weight" not in names and (unnamed or not tied):
                weight = tensor(unnamed.pop(0)).T
                if weight.shape != module.weight.shape:
                    raise ValueError(f"{name}: {list(module.weight.shape)} expected, {list(weight.shape)} in the graph")
                module.weight.copy_(weight)
    return model
