"""Hugging Face transformers on torch, in float32: python transformers_peer.py PATH THREADS

PATH is a GGUF file, whose weights are dequantised, or a folder with config.json and model.safetensors.
"""

import sys
import time
from pathlib import Path

from worker import load_packages, serve

CHUNK = 512


class TransformersPeer:
    """Keeps one sequence's keys and values between rounds and repeats them for the batch before a round begins."""

    def __init__(self, path, threads):
        self.torch, transformers = load_packages("torch", "transformers")
        load_packages("accelerate", "gguf")  # what transformers reads GGUF with
        self.new_cache = transformers.DynamicCache
        self.torch.set_num_threads(threads)
        self.torch.set_grad_enabled(False)
        where = (str(path), {}) if path.is_dir() else (str(path.parent), {"gguf_file": path.name})
        options = dict(dtype=self.torch.float32, attn_implementation="sdpa", local_files_only=True)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(where[0], **where[1], **options).eval()
        self.versions = {"transformers": transformers.__version__, "torch": self.torch.__version__}
        self.vocab_size = self.model.config.vocab_size
        self.layers = self.model.config.num_hidden_layers
        self.past = []

    def check(self, prompt):
        logits = self.step([prompt], self.new_cache(), keep=0)[0]
        return {"top": logits.argmax(-1).tolist(), "finite": bool(logits.isfinite().all())}

    def open(self, positions, sequences):
        self.past = []
        return {}

    def fill(self, tokens):
        started = time.perf_counter()
        self.past = self.prefill(tokens)
        return {"seconds": time.perf_counter() - started}

    def refill(self, tokens):
        count = len(tokens)
        times = -(-count // CHUNK)
        given = self.prefill(tokens[:CHUNK])
        self.past = [tuple(part.repeat(1, 1, times, 1)[:, :, :count].contiguous() for part in layer) for layer in given]
        return {}

    def decode(self, context, batch, steps, tokens):
        cache = self.new_cache()
        for layer, parts in enumerate(self.past):
            cache.update(*(part.repeat(batch, 1, 1, 1) for part in parts), layer)
        if cache.get_seq_length() != context:
            raise ValueError(f"{cache.get_seq_length()} positions are filled, not {context}")
        milliseconds, finite = [], True
        for step in range(steps):
            rows = [[token] for token in tokens[step * batch : (step + 1) * batch]]
            started = time.perf_counter()
            logits = self.step(rows, cache, keep=1)
            milliseconds.append((time.perf_counter() - started) * 1000)
            finite = finite and bool(logits.isfinite().all())
        return {"milliseconds": milliseconds, "finite": finite}

    def prefill(self, tokens):
        cache = self.new_cache()
        for start in range(0, len(tokens), CHUNK):
            self.step([tokens[start : start + CHUNK]], cache, keep=1)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def step(self, rows, cache, keep):
        """Logits of the last `keep` tokens of each row, of all if 0; the cache grows."""
        ids = self.torch.tensor(rows)
        return self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=keep).logits


if __name__ == "__main__":
    serve(lambda: TransformersPeer(Path(sys.argv[1]), int(sys.argv[2])))
