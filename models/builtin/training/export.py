"""Make a model folder (model.onnx, config, tokenizer) from a trained checkpoint.

    python export.py CHECKPOINT_DIR MODEL_DIR [--rounded DIR]

The graph is what the stock PyTorch exporter makes of the stock transformers
model with scaled-dot-product attention: the server must read such files, so
nothing here tidies them up. The one change is the storage of the weights: each
big float32 initialiser becomes a float16 initialiser with a Cast behind it. The
checkpoint is rounded to float16 before the export, so this changes no value and
all computing stays in float32.

--rounded saves the rounded checkpoint, loadable by from_pretrained, which gives
the same logits as the exported file.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import AutoModelForCausalLM, DynamicCache

MAX_POSITIONS = 4096
# Smaller initialisers (norms, biases, shapes, rotary frequencies) stay as they are.
F16_MIN_ELEMENTS = 4096
END_OF_TEXT = "<|endoftext|>"
# The models are plain text models: a chat is its messages with blank lines between.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if not loop.last %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
)


class WithFlatCache(torch.nn.Module):
    """The model with its key-value cache as flat inputs and outputs."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, position_ids, *past):
        # The dynamo exporter hands over the variadic inputs as one tuple.
        if len(past) == 1 and isinstance(past[0], (list, tuple)):
            past = past[0]
        cache = DynamicCache()
        for layer in range(self.model.config.num_hidden_layers):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        result = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        present = [t for layer in result.past_key_values.layers for t in (layer.keys, layer.values)]
        return (result.logits, *present)


def example_inputs(config, batch, new, past, padding=0, seed=0):
    """Random inputs: `new` tokens behind `past` cached ones, the last row left-padded."""
    generator = torch.Generator().manual_seed(seed)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    ids = torch.randint(0, config.vocab_size, (batch, new), generator=generator)
    mask = torch.ones(batch, past + new, dtype=torch.long)
    mask[-1, :padding] = 0
    positions = torch.arange(past, past + new)[None].expand(batch, -1).contiguous()
    shape = (batch, heads, past, head_dim)
    cache = [torch.randn(shape, generator=generator) for _ in range(2 * config.num_hidden_layers)]
    return (ids, mask, positions, *cache)


def cache_names(config, prefix):
    layers = range(config.num_hidden_layers)
    return [f"{prefix}.{layer}.{part}" for layer in layers for part in ("key", "value")]


def export_graph(model, path):
    """Write the stock export: dynamo for Llama, the TorchScript exporter for GPT-NeoX."""
    wrapped = WithFlatCache(model).eval()
    inputs = example_inputs(model.config, batch=2, new=3, past=5)
    past_names = cache_names(model.config, "past_key_values")
    present_names = cache_names(model.config, "present")
    names = dict(
        input_names=["input_ids", "attention_mask", "position_ids", *past_names],
        output_names=["logits", *present_names],
    )
    if model.config.model_type == "llama":
        free = torch.export.Dim.DYNAMIC
        shapes = ({0: free, 1: free},) * 3 + (tuple({0: free, 2: free} for _ in past_names),)
        program = torch.onnx.export(
            wrapped, inputs, dynamo=True, dynamic_shapes=shapes, external_data=False, **names
        )
        program.save(str(path))
        return
    axes = {
        "input_ids": {0: "batch", 1: "sequence"},
        "attention_mask": {0: "batch", 1: "total"},
        "position_ids": {0: "batch", 1: "sequence"},
        "logits": {0: "batch", 1: "sequence"},
        **{name: {0: "batch", 2: "past"} for name in past_names},
        **{name: {0: "batch", 2: "total"} for name in present_names},
    }
    torch.onnx.export(
        wrapped, inputs, str(path), dynamo=False, dynamic_axes=axes, opset_version=18, **names
    )


def store_weights_as_f16(path):
    """Replace big float32 initialisers by float16 ones with a Cast to float32 behind."""
    model = onnx.load(str(path))
    graph = model.graph
    casts = []
    for index, tensor in enumerate(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < F16_MIN_ELEMENTS:
            continue
        rounded = values.astype(np.float16)
        if not np.array_equal(rounded.astype(np.float32), values):
            raise ValueError(f"initialiser {tensor.name} does not fit float16 exactly")
        stored = f"{tensor.name}_f16"
        casts.append(
            helper.make_node("Cast", [stored], [tensor.name], f"{stored}_cast", to=TensorProto.FLOAT)
        )
        graph.initializer[index].CopyFrom(numpy_helper.from_array(rounded, stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return len(casts)


def drop_stack_traces(path):
    """Remove the exporter's notes on which source line of which machine made each node."""
    model = onnx.load(str(path))
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for item in [model, graph, *graph.node, *values]:
        kept = [(p.key, p.value) for p in item.metadata_props if "stack_trace" not in p.key]
        del item.metadata_props[:]
        for key, value in kept:
            item.metadata_props.add(key=key, value=value)
    onnx.save(model, str(path))


@torch.no_grad()
def largest_difference(model, path):
    """Largest |difference| between ONNX Runtime and torch over prefill, decode and padding."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    wrapped = WithFlatCache(model).eval()
    worst = 0.0
    cases = ((1, 16, 0, 0), (3, 7, 0, 0), (1, 1, 17, 0), (2, 3, 5, 2), (4, 1, 33, 2), (1, 1, 1000, 0))
    for batch, new, past, padding in cases:
        inputs = example_inputs(model.config, batch, new, past, padding, seed=1)
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs)}
        for ours, theirs in zip(session.run(None, feed), wrapped(*inputs)):
            worst = max(worst, float(np.abs(ours - theirs.numpy()).max()))
    return worst


def write_side_files(model, checkpoint, folder):
    """config.json, generation_config.json and the tokenizer's two files."""
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    shutil.copyfile(checkpoint / "tokenizer.json", folder / "tokenizer.json")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_POSITIONS,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounded", type=Path, help="where to save the rounded checkpoint")
    args = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(
        args.checkpoint, dtype=torch.float32, attn_implementation="sdpa"
    ).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()

    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / "model.onnx"
    export_graph(model, path)
    drop_stack_traces(path)
    count = store_weights_as_f16(path)
    write_side_files(model, args.checkpoint, args.folder)
    if args.rounded:
        model.save_pretrained(args.rounded)
        write_side_files(model, args.checkpoint, args.rounded)
    difference = largest_difference(model, path)
    print(f"{path}: {path.stat().st_size} bytes, {count} weights as float16, max |difference| {difference:.1e}")
    if difference > 1e-3:
        raise SystemExit("the exported graph does not match the model")


if __name__ == "__main__":
    main()
