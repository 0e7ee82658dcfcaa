"""Make of a GGUF file a folder with the same weights, in float32, for the programs that do not read GGUF:

    python bench/compare/python/export.py MODEL.gguf DIR

- config.json, model.safetensors, tokenizer: the checkpoint that transformers makes of the file (it dequantises all weights)
- model.onnx and its data: what the stock torch exporter makes of the checkpoint; the server reads it too
- genai/: what onnxruntime-genai's own model builder makes of the checkpoint, if that package is there
- source.json: which file all this was made of

requirements.txt beside this file has the versions. Needs four times the model's size as float32 in memory.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "models" / "builtin" / "training"))
import export as exporter  # the built-in models come out of the same functions


def make_checkpoint(source, folder):
    where = dict(pretrained_model_name_or_path=str(source.parent), gguf_file=source.name)
    read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # The same weights in a model that knows nothing of the file: transformers does not save what it dequantised.
    if hasattr(read.config, "quantization_config"):
        del read.config.quantization_config
    model = AutoModelForCausalLM.from_config(read.config, dtype=torch.float32, attn_implementation="sdpa").eval()
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
    return model


def make_genai(folder):
    """What users of onnxruntime-genai have: a graph with its fused attention over one buffer for keys and values."""
    if importlib.util.find_spec("onnxruntime_genai") is None:
        print("onnxruntime-genai is not installed: no genai/ is made")
        return
    builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    # Logits of a prompt's last token alone: of all they take more memory than the cache.
    options = ["-p", "fp32", "-e", "cpu", "-c", str(folder / ".builder"), "--extra_options", "prune_lm_head=true"]
    subprocess.run([*builder, "-i", str(folder), "-o", str(folder / "genai"), *options], check=True, stdout=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    model = make_checkpoint(args.source.resolve(), args.folder)
    path = args.folder / "model.onnx"
    exporter.export_graph(model, path)
    difference = exporter.largest_difference(model, path)
    print(f"{path}: max |difference| of logits to torch {difference:.1e}")
    if difference > 1e-2:
        raise SystemExit("the exported graph does not match the model")
    make_genai(args.folder)
    # Written last: a folder without it is not complete.
    source = {"file": args.source.name, "bytes": args.source.stat().st_size}
    (args.folder / "source.json").write_text(json.dumps(source) + "\n")


if __name__ == "__main__":
    main()
