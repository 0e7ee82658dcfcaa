"""onnxruntime-genai on a folder that its model builder made: python genai_peer.py FOLDER THREADS

Its generator takes positions back, and prompts in chunks, for a single sequence only. One of several sequences reads their prompts
at once, then goes on by itself with the likeliest tokens, and stands further on with each round.
"""

import json
import sys
import time
from pathlib import Path

from worker import load_packages, serve

CHUNK = 512
# Positions beyond what was asked for: rounds of several sequences follow each other.
SPARE = 1024
# Every sequence of a batch is prefilled; more than this is not waited for.
FILL_SECONDS = 120


class GenaiPeer:
    def __init__(self, folder, threads):
        self.genai, self.numpy = load_packages("onnxruntime_genai", "numpy")
        config = self.genai.Config(str(folder))
        options = {"session_options": {"intra_op_num_threads": threads}}
        config.overlay(json.dumps({"model": {"decoder": options}}))
        self.model = self.genai.Model(config)
        sizes = json.loads((folder / "genai_config.json").read_text())["model"]
        self.versions = {"onnxruntime-genai": self.genai.__version__}
        self.vocab_size = sizes["vocab_size"]
        self.longest = sizes["context_length"]
        self.layers = sizes["decoder"]["num_hidden_layers"]
        self.positions = 0
        self.tokens = []
        self.fill_seconds = 0
        self.single = self.several = None
        self.several_batch = 0

    def check(self, prompt):
        generator = self.generator(1, len(prompt) + 1)
        top, finite = [], True
        for token in prompt:
            self.append(generator, [[token]])
            logits = generator.get_logits()[0, -1]
            top.append(int(logits.argmax()))
            finite = finite and bool(self.numpy.isfinite(logits).all())
        return {"top": top, "finite": finite}

    def open(self, positions, sequences):
        self.single = self.several = None
        self.positions = positions
        if self.positions >= self.longest:
            return {"missing": f"{self.positions} positions do not fit the {self.longest} of its model"}
        return {}

    def fill(self, tokens):
        self.single = self.several = None
        self.tokens = tokens
        generator = self.generator(1, self.positions + 1)
        started = time.perf_counter()
        for start in range(0, len(tokens), CHUNK):
            self.append(generator, [tokens[start : start + CHUNK]])
        self.fill_seconds = time.perf_counter() - started
        self.single = generator
        return {"seconds": self.fill_seconds}

    def refill(self, tokens):
        return self.fill(tokens)

    def decode(self, context, batch, steps, tokens):
        if batch == 1:
            self.single.rewind_to(context)
            return self.timed(self.single, steps, lambda step: self.append(self.single, [[tokens[step]]]))
        if batch * self.fill_seconds > FILL_SECONDS:
            seconds = f"{batch} x {self.fill_seconds:.0f} s, over {FILL_SECONDS} s"
            return {"missing": f"it prefills every sequence of a batch itself, which would take {seconds}"}
        if self.several is None or self.several_batch != batch or self.several.token_count() + steps > self.capacity:
            self.several = None
            self.several = self.generator(batch, self.capacity + 1)
            self.several_batch = batch
            self.append(self.several, [self.tokens] * batch)
        # What it does for a user: choose a token for each sequence, and run them.
        return self.timed(self.several, steps, lambda step: self.several.generate_next_token())

    @property
    def capacity(self):
        return min(self.positions + SPARE, self.longest - 1)

    def timed(self, generator, steps, run):
        milliseconds, finite = [], True
        for step in range(steps):
            started = time.perf_counter()
            run(step)
            logits = generator.get_logits()
            milliseconds.append((time.perf_counter() - started) * 1000)
            finite = finite and bool(self.numpy.isfinite(logits).all())
        return {"milliseconds": milliseconds, "finite": finite}

    def generator(self, batch, positions):
        params = self.genai.GeneratorParams(self.model)
        # Without an end of its own: min_length keeps it from the token that ends a text.
        params.set_search_options(max_length=positions, min_length=positions, batch_size=batch)
        return self.genai.Generator(self.model, params)

    def append(self, generator, rows):
        generator.append_tokens(self.numpy.array(rows, dtype=self.numpy.int32))


if __name__ == "__main__":
    serve(lambda: GenaiPeer(Path(sys.argv[1]), int(sys.argv[2])))
